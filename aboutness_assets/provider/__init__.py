"""Bytes on the wire of the provider: requests, sent until they have an answer, and what errors mean.

Does not belong here: what is asked (generation), who pays (money), when a request may go (limits).
"""

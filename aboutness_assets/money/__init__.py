"""Dollars: prices, estimates, and what a ledger of requests is told.

What remembers spending is a Protocol here (ledger); database/operations fulfills it.
"""

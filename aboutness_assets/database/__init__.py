"""I contain SQL.

service/ reads the catalogue and inserts rows, in a database that it may not alter; operations/ is our own.
"""

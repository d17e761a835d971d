"""Songs to words, words to texts. No I/O.

Does not belong here: how a request is sent (provider), what it costs (money), where a text goes (database).
"""

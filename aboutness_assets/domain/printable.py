"""Words from outside (a provider, Postgres, the catalogue) as a log, a terminal and a table may show them."""


def printable_line(words: str) -> str:
    """One line of printable characters: whatever else stood there (ANSI escapes, NUL, marks of direction,
    lone surrogates, line breaks) is a space. A terminal obeys nothing in it, and Postgres stores it.
    """
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())

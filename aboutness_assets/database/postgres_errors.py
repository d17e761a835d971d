"""Postgres' own words, as a log and a person may see them."""

import psycopg

from aboutness_assets.domain.printable import printable_line


def postgres_message(error: psycopg.Error) -> str:
    """Postgres' own words in short, printable_line: without the values of a row that a DETAIL would show."""
    words = (error.diag.message_primary or str(error)).strip() or type(error).__name__
    return printable_line(words.splitlines()[0]).rstrip(".")

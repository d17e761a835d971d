"""What Postgres said, as a log and a person may see it; no SQL and no connections."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeAlias

import psycopg

from aboutness_assets.domain.errors import DatabaseAway, FatalError
from aboutness_assets.domain.printable import printable_line

DatabaseError: TypeAlias = psycopg.Error
"""What Postgres or its driver raises, for rooms that do not know the driver."""


def postgres_message(error: psycopg.Error) -> str:
    """Postgres' own message in short: one printable line, without the values of a row that a DETAIL shows."""
    message = (error.diag.message_primary or str(error)).strip() or type(error).__name__
    return printable_line(message.splitlines()[0]).rstrip(".")


@contextmanager
def database_errors_as_sentences(what_failed: str, what_to_do: str) -> Generator[None, None, None]:
    """Turn a psycopg error of the body, which may await, into "{what_failed}: {its message}. {what_to_do}".

    A text that is not UTF-8, as a database in SQL_ASCII may hold it, is such an error too.
    Raises FatalError, DatabaseAway of an OperationalError, with the error as its cause.
    """
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseAway(f"{what_failed}: {postgres_message(error)}. {what_to_do}") from error
    except psycopg.Error as error:
        raise FatalError(f"{what_failed}: {postgres_message(error)}. {what_to_do}") from error
    except UnicodeDecodeError as error:
        raise FatalError(
            f"{what_failed}: it holds a text that is not valid UTF-8. Repair the title or artist, or let "
            "ABOUTNESS_SONGS_QUERY convert it or leave such songs out."
        ) from error

"""Postgres' errors as sentences for a person."""

import asyncio

import psycopg
import pytest

from aboutness_assets.database.postgres_errors import database_errors_as_sentences, postgres_message
from aboutness_assets.domain.errors import FatalError

LOST = psycopg.OperationalError("server closed the connection unexpectedly.\n\tThis probably means …")


def test_a_message_is_the_first_line_without_its_full_stop() -> None:
    assert postgres_message(LOST) == "server closed the connection unexpectedly"


def test_an_error_without_words_is_named_by_its_class() -> None:
    assert postgres_message(psycopg.OperationalError("")) == "OperationalError"


async def test_an_error_of_postgres_becomes_a_sentence_and_stays_attached() -> None:
    with (
        pytest.raises(FatalError) as caught,
        database_errors_as_sentences("The ranges cannot be read", "Run it again when it is back."),
    ):
        await asyncio.sleep(0)
        raise LOST

    assert str(caught.value) == (
        "The ranges cannot be read: server closed the connection unexpectedly. Run it again when it is back."
    )
    assert caught.value.__cause__ is LOST


def test_other_errors_pass_as_they_are() -> None:
    with (
        pytest.raises(FatalError, match=r"^as it is$"),
        database_errors_as_sentences("The ranges cannot be read", "Run it again."),
    ):
        raise FatalError("as it is")


def test_a_text_that_is_not_utf8_is_a_sentence_too() -> None:
    with (
        pytest.raises(FatalError, match=r"^It failed: it holds a text that is not valid UTF-8\. Repair"),
        database_errors_as_sentences("It failed", "Try again."),
    ):
        b"Gl\xfcck".decode()

"""Of errors that came together a person sees the one that counts."""

import asyncio
import logging

import dagster as dg
import psycopg
import pytest

from aboutness_assets.domain.errors import FatalError, SettingsError, first_error
from aboutness_assets.orchestration.async_runner import run_until_interrupted

KINDS = (FatalError, psycopg.Error)


@pytest.mark.parametrize(
    ("errors", "seen"),
    [
        ([KeyError("x"), FatalError("quota")], "quota"),
        ([psycopg.Error("gone"), ExceptionGroup("", [ValueError("y"), FatalError("quota")])], "quota"),
        ([KeyError("x"), psycopg.OperationalError("gone")], "gone"),
        ([ExceptionGroup("", [ExceptionGroup("", [ValueError("first")])]), KeyError("x")], "first"),
    ],
)
def test_the_error_that_counts_is_found_in_a_group_of_any_kinds(errors: list[Exception], seen: str) -> None:
    assert str(first_error(ExceptionGroup("tasks", errors), KINDS)) == seen


async def fail_by(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


@pytest.mark.parametrize(
    ("errors", "sentence"),
    [
        ([ZeroDivisionError("by zero"), KeyError("song")], r"ZeroDivisionError \(by zero\)\. What"),
        (
            [UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid")],
            r"UnicodeDecodeError \('utf-8' codec can't",
        ),
        ([KeyError("song"), SettingsError("Set this.")], r"^Set this\.$"),
        ([AssertionError()], r"AssertionError\. What was written stays"),
    ],
)
def test_an_error_that_nobody_foresaw_is_a_sentence_too(errors: list[Exception], sentence: str) -> None:
    with pytest.raises(dg.Failure, match=sentence) as failed:
        run_until_interrupted(fail_by(*errors), logging.getLogger())
    assert str(failed.value).isprintable()


def test_the_sentence_names_the_root_of_an_error() -> None:
    async def fail() -> None:
        try:
            raise TimeoutError("no answer")
        except TimeoutError as cause:
            raise RuntimeError("the part is broken") from cause

    with pytest.raises(
        dg.Failure, match=r"RuntimeError \(the part .*, because of TimeoutError \(no answer\)"
    ):
        run_until_interrupted(fail(), logging.getLogger())

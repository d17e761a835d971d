"""The preflight: whether a backfill could start, and what it will take, before anything is paid for."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import dagster as dg

from aboutness_assets.acceptance.preflight import (
    PreflightLine,
    backfill_lines,
    preflight_table,
    price_lines,
    table_found,
)
from aboutness_assets.database.postgres_errors import database_errors_as_sentences
from aboutness_assets.domain.errors import AboutnessError
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.session import (
    open_own_database,
    open_service_pool,
    open_unrecorded,
    read_aboutness_table,
    read_terms,
    songs_id_type,
)
from aboutness_assets.settings import Settings

T = TypeVar("T")


class _Checklist:
    """The lines of the table so far."""

    def __init__(self) -> None:
        self.lines: list[PreflightLine] = []

    async def check(
        self, name: str, look: Callable[[], Awaitable[T]], lines_of: Callable[[T], Sequence[PreflightLine]]
    ) -> T | None:
        """Look, and add the lines of what was found; None, and a failed line, where an error was met."""
        try:
            with database_errors_as_sentences("It cannot be read", "Nothing was written."):
                found = await look()
        except AboutnessError as error:
            self.lines.append(PreflightLine(name, str(error), passed=False))
            return None
        self.lines += lines_of(found)
        return found


async def evaluate_preflight(settings: Settings) -> list[PreflightLine]:
    """Look at everything that a backfill needs; writes nothing and sends the provider nothing."""
    checklist = _Checklist()
    async with AsyncExitStack() as stack:
        pool = await checklist.check(
            "DATABASE_URL",
            lambda: stack.enter_async_context(open_service_pool(settings)),
            lambda _: [PreflightLine("DATABASE_URL", "connects")],
        )
        table = id_type = None
        if pool is not None:
            table = await checklist.check(
                "song_aboutness",
                lambda: read_aboutness_table(pool),
                lambda found: [PreflightLine("song_aboutness", table_found(found))],
            )
        if pool is not None and table is not None:
            id_type = await checklist.check(
                "songs",
                lambda: songs_id_type(pool, settings, table),
                lambda found: [PreflightLine("songs", f"readable; {found} ids, as those of song_aboutness")],
            )
        operations = await checklist.check(
            "DAGSTER_PG_URL",
            lambda: stack.enter_async_context(open_own_database(settings)),
            lambda _: [PreflightLine("DAGSTER_PG_URL", "connects; its schema is up to date")],
        )
        terms = await checklist.check(
            "provider",
            lambda: read_terms(settings),
            lambda found: [PreflightLine("provider", f"{found.host}, a key is set"), *price_lines(found)],
        )
    if id_type is None or operations is None or terms is None:
        checklist.lines.append(
            PreflightLine("songs left", "not counted: that needs the checks above to pass", passed=False)
        )
        return checklist.lines

    async def backfill() -> list[PreflightLine]:
        async with open_unrecorded(settings) as session:
            return await backfill_lines(session, terms)

    await checklist.check("songs left", backfill, lambda lines: lines)
    return checklist.lines


@dg.op
def look_before_backfill(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Check what a backfill needs and estimate what it takes. Writes nothing; sends the provider nothing."""
    lines = run_until_interrupted(evaluate_preflight(settings.load()), context.log)
    context.log.info("Preflight\n%s", preflight_table(lines))
    failed = [line.name for line in lines if line.passed is False]
    if failed:
        raise dg.Failure(f"The preflight does not pass: {', '.join(failed)}.", allow_retries=False)


@dg.job
def aboutness_preflight() -> None:
    """Check databases, settings, prices and budget, count the songs left, and estimate a whole backfill.

    Writes no row and no record, and sends no request to the provider: whether it accepts the key and serves
    the models, the smoke run tells. Fails where a check fails.
    """
    look_before_backfill()

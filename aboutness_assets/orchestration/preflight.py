"""The preflight: whether a backfill could start, and what it will take, before anything is paid for."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import dagster as dg

from aboutness_assets.acceptance.preflight import (
    backfill_lines,
    findings_table,
    price_lines,
    table_found,
)
from aboutness_assets.database.postgres_errors import database_errors_as_sentences
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.replica import SongReader
from aboutness_assets.domain.errors import AboutnessError
from aboutness_assets.domain.findings import Finding, failing
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import IdType
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.markdown import findings_markdown
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.table_observations import count_tables, report_tables
from aboutness_assets.pipeline.preflight import first_songs_of, service_findings
from aboutness_assets.pipeline.session import (
    REPLICA_SETTING,
    endpoint_lines,
    open_own_database,
    open_replica,
    open_service_pool,
    open_unrecorded,
    read_aboutness_table,
    read_terms,
    songs_id_type,
)
from aboutness_assets.settings import Settings

T = TypeVar("T")


class _Checklist:
    """The findings so far."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    async def check(
        self, name: str, look: Callable[[], Awaitable[T]], findings_of: Callable[[T], Sequence[Finding]]
    ) -> T | None:
        """Look, and add what was found; None, and a failed check, where an error was met."""
        try:
            with database_errors_as_sentences("It cannot be read", "Nothing was written."):
                found = await look()
        except AboutnessError as error:
            self.findings.append(Finding(name, str(error), "fail"))
            return None
        self.findings += findings_of(found)
        return found


async def preflight(
    settings: Settings, *, range_keys: Sequence[str] = (), with_estimate: bool = False
) -> list[Finding]:
    """Look at everything that a backfill needs, and try the INSERT; nothing stays, and no text is asked for.

    range_keys: those whose songs the INSERT is tried with; none: the whole catalogue. with_estimate: count
    the songs left and estimate what they take, which reads the names of all of them.
    """
    checklist = _Checklist()
    async with AsyncExitStack() as stack:
        pool = await checklist.check(
            "DATABASE_URL",
            lambda: stack.enter_async_context(open_service_pool(settings)),
            lambda _: [Finding("DATABASE_URL", "connects")],
        )
        table = id_type = None
        if pool is not None:
            table = await checklist.check(
                "song_aboutness",
                lambda: read_aboutness_table(pool),
                lambda found: [Finding("song_aboutness", table_found(found))],
            )
        if pool is not None and table is not None:
            id_type = await checklist.check(
                "songs",
                lambda: songs_id_type(pool, settings, table),
                lambda found: [Finding("songs", f"readable; {found} ids, as those of song_aboutness")],
            )
        if pool is not None and table is not None and id_type is not None:
            ranges = [SongIdRange.from_key(key, id_type) for key in range_keys]

            async def try_it() -> list[Finding]:
                query = settings.songs_query
                reader = SongReader(table, query, pool)
                song_ids = await first_songs_of(reader, ranges) if ranges else None
                return await service_findings(pool, table, query, settings.rollout_at, song_ids)

            await checklist.check("insert (rolled back)", try_it, lambda found: found)
        if settings.catalogue_url is not None:
            replica_ids = await checklist.check(
                REPLICA_SETTING,
                lambda: _replica_id_type(settings, table),
                lambda _: [Finding(REPLICA_SETTING, "connects; the songs of a run are read there")],
            )
            id_type = id_type and replica_ids
        operations = await checklist.check(
            "DAGSTER_PG_URL",
            lambda: stack.enter_async_context(open_own_database(settings)),
            lambda _: [Finding("DAGSTER_PG_URL", "connects; its schema is up to date")],
        )
        terms = await checklist.check(
            "provider",
            lambda: read_terms(settings),
            lambda found: [Finding("provider", f"{found.host}, a key is set"), *price_lines(found)],
        )
        if terms is not None:
            await checklist.check("endpoint", lambda: endpoint_lines(settings), lambda found: found)
    if not with_estimate:
        return checklist.findings
    if id_type is None or operations is None or terms is None:
        checklist.findings.append(
            Finding("songs left", "not counted: that needs the checks above to pass", "fail")
        )
        return checklist.findings

    async def backfill() -> list[Finding]:
        async with open_unrecorded(settings) as session:
            return await backfill_lines(session, terms)

    await checklist.check("songs left", backfill, lambda lines: lines)
    return checklist.findings


async def _replica_id_type(settings: Settings, table: AboutnessTable | None) -> IdType | None:
    """What the songs' ids are where they are read; None where there is no table to compare them with."""
    async with open_replica(settings) as replica:
        return None if table is None else await songs_id_type(replica, settings, table, REPLICA_SETTING)


@dg.op
def look_before_backfill(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Check what a backfill needs, try the INSERT and roll it back, and estimate what a backfill takes."""
    in_force = settings.load()
    findings = run_until_interrupted(preflight(in_force, with_estimate=True), context.log)
    context.log.info("Preflight\n%s", findings_table(findings))
    table = {"preflight": dg.MetadataValue.md(findings_markdown(findings))}
    if failed := failing(findings):
        names = ", ".join(dict.fromkeys(finding.check for finding in failed))
        raise dg.Failure(f"The preflight does not pass: {names}.", table, allow_retries=False)
    context.add_output_metadata(table)
    report_tables(context.instance, run_until_interrupted(count_tables(in_force), context.log))


@dg.job
def aboutness_preflight() -> None:
    """Check databases, settings, prices, endpoint and budget, and estimate a whole backfill.

    Rows for a few songs are inserted and rolled back, so nothing is written. The endpoint is asked for its
    list of models alone: whether it accepts a request, the smoke run tells. Fails where a check fails.
    """
    look_before_backfill()


@dg.asset_check(
    asset=song_aboutness,
    name="preflight",
    description="A run could write rows now: databases, rights, settings, endpoint, and an INSERT that is "
    "rolled back.",
)
def preflight_check(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource
) -> dg.AssetCheckResult:
    """Whether a run could write rows now; after a run it is tried with the songs of its ranges."""
    run = context.op_execution_context
    has_ranges = run.has_partition_key or run.has_partition_key_range
    return preflight_result(settings.load(), context.log, range_keys=run.partition_keys if has_ranges else ())


def preflight_result(
    settings: Settings, log: logging.Logger, *, range_keys: Sequence[str] = ()
) -> dg.AssetCheckResult:
    """Do the preflight now; the log gets its table."""
    findings = run_until_interrupted(preflight(settings, range_keys=range_keys), log)
    log.info("Preflight\n%s", findings_table(findings))
    return dg.AssetCheckResult(
        asset_key=song_aboutness.key,
        check_name="preflight",
        passed=not failing(findings),
        severity=dg.AssetCheckSeverity.WARN,
        description=findings_markdown(findings),
    )

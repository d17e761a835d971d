"""The kinds of runs, each from settings to result: lay ranges, fill a range, smoke run, hold the criteria."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.acceptance.verdicts import (
    Criterion,
    Verdict,
    failed_songs_verdict,
    old_style_verdict,
    ready_verdict,
    smoke_criteria,
    text_verdicts,
)
from aboutness_assets.database.operations.connection import Operations, exclusive_ranges, open_operations
from aboutness_assets.database.operations.failed_songs import FailedSongs
from aboutness_assets.database.operations.journal import Journal, trim
from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.service import catalogue
from aboutness_assets.database.service.aboutness_table import AboutnessTable, read_table
from aboutness_assets.database.service.connection import open_service
from aboutness_assets.database.service.old_style import (
    OldStyleComparison,
    compare_with_baseline,
    record_baseline,
)
from aboutness_assets.database.service.text_criteria import WHOLE_TABLE, count_violations, heap_bytes
from aboutness_assets.domain.errors import FatalError, first_error
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import IdType, Song
from aboutness_assets.limits.breaker import CircuitBreaker
from aboutness_assets.limits.store import rate_limit_name
from aboutness_assets.limits.throttle import Throttle
from aboutness_assets.pipeline.progress import Progress
from aboutness_assets.pipeline.range_pipeline import Backfill
from aboutness_assets.pipeline.report import Report
from aboutness_assets.provider.client import OPENAI_URL, OpenAIClient
from aboutness_assets.provider.embedder import Embedder, VectorForm
from aboutness_assets.settings import Settings

SERVICE_POOL_SIZE = 6
"""Connections to the service's Postgres in one process: one reads pages, four insert, one to spare."""

SMOKE_SONGS = 50
"""Songs of a smoke run (CONTRACT: aboutness_smoke)."""

FAILED_SONGS_SHOWN = 100
"""Failed songs listed with the check; all of them stand in aboutness_ops.failed_song."""

LOOK_AT_ALL_BELOW_BYTES = 8 * 2**20
"""Up to this size of the main heap (about 25,000 rows) a check after a range looks at the whole table: that
costs no more than the range alone (benchmarks/growth.py)."""


UNFINISHED_PACKS = 1_024
"""Packs that a run asks for or is about to; twice what a process has in flight at most, a few MB."""

RANGES_AT_ONCE = 32
"""Ranges that a run works on at once at most: the next one's songs are read while the last one's slowest
answers are awaited. With packs of 10 and ranges of 1,000 songs, 512 requests in flight are of six ranges."""

JUDGED_ANSWERS = 50
"""The last answers, among which ABOUTNESS_BREAKER_BAD_SHARE counts the bad ones."""


@dataclass(frozen=True, slots=True)
class Run:
    """Who runs: the run, and whose spending it is (the backfill's id, or the run's own)."""

    run_id: str
    budget: str


@dataclass(frozen=True, slots=True)
class SmokeResult:
    """What a smoke run wrote, and how it stands the acceptance criteria."""

    report: Report
    criteria: list[Criterion]

    @property
    def passed(self) -> bool:
        """Whether every criterion holds."""
        return all(criterion.passed for criterion in self.criteria)


@dataclass(frozen=True, slots=True)
class _Service:
    """The service's database and our own, both open and both as agreed."""

    settings: Settings
    pool: AsyncConnectionPool[AsyncConnection]
    operations: Operations
    table: AboutnessTable
    id_type: IdType


async def create_partitions(
    settings: Settings,
    read_keys: Callable[[], Sequence[str]],
    add_keys: Callable[[Sequence[str]], None],
    log: logging.Logger,
) -> list[str]:
    """Add partition keys until every song of the catalogue lies in a range; returns those that were added.

    One at a time: two first layings at once could cut text ids at different songs.
    """
    async with (
        open_service(settings.service_url(), 1) as pool,
        exclusive_ranges(settings.operations_url(), "song_id_ranges", None, log),
        pool.connection() as connection,
    ):
        new = await catalogue.new_ranges(connection, settings.songs_query, read_keys(), settings.range_size)
        if new:
            add_keys(new)
        return new


async def fill_ranges(
    settings: Settings,
    range_keys: Sequence[str],
    run: Run,
    log: logging.Logger,
    done: Callable[[str, Report], None],
) -> None:
    """Write a row for every song of the ranges that has none; ``done`` hears of each range as it is finished.

    Raises SettingsError, InvalidPartitionKey, or FatalError when no song can survive.
    """
    async with _open(settings) as service:
        ranges = {key: SongIdRange.from_key(key, service.id_type) for key in range_keys}
        free = asyncio.Semaphore(RANGES_AT_ONCE)

        async def fill(writer: _Writer, key: str, song_id_range: SongIdRange) -> None:
            try:
                async with service.pool.connection() as connection:
                    songs, with_row = await catalogue.range_counts(
                        connection, settings.songs_query, song_id_range
                    )
                report = Report(songs_in_range=songs, songs_skipped_existing=with_row)
                pages = catalogue.pages_without_row(service.pool, settings.songs_query, song_id_range)
                await writer.fill(key, pages, report)
                done(key, report)
            finally:
                free.release()

        async with (
            exclusive_ranges(settings.operations_url(), service.table.table_id, list(ranges), log),
            _writer(service, run, log, ranges=len(ranges)) as writer,
        ):
            try:
                async with asyncio.TaskGroup() as group:
                    for key, song_id_range in ranges.items():
                        await free.acquire()
                        group.create_task(fill(writer, key, song_id_range))
            except BaseExceptionGroup as faults:
                raise first_error(faults, (FatalError, psycopg.Error)) from None


async def smoke(settings: Settings, run: Run, log: logging.Logger) -> SmokeResult:
    """Write rows for the first songs without one, and hold them against the acceptance criteria.

    Raises SettingsError, or FatalError when no song can survive.
    """
    async with (
        _open(settings) as service,
        exclusive_ranges(settings.operations_url(), service.table.table_id, None, log),
        _writer(service, run, log) as writer,
    ):
        async with service.pool.connection() as connection:
            songs = await catalogue.songs_without_row(connection, settings.songs_query, SMOKE_SONGS)
        report = await writer.fill("smoke", _pages(songs), Report(songs_in_range=len(songs)))
        async with service.pool.connection() as connection:
            rows = await count_violations(
                connection, settings.rollout_at, service.table.among([song.song_id for song in songs])
            )
        old_style = await _old_style(service)
    return SmokeResult(report, smoke_criteria(report, rows, old_style, settings.pack_size))


async def replay_failed(
    settings: Settings, run: Run, log: logging.Logger, *, cause: str | None, song_ids: Sequence[str]
) -> Report:
    """Try failed songs again, quarantined ones too: those of a cause, those with these ids, or all.

    Answers that failed them are read again first, at no cost. Raises SettingsError or FatalError.
    """
    async with (
        _open(settings) as service,
        exclusive_ranges(settings.operations_url(), service.table.table_id, None, log),
        _writer(service, run, log) as writer,
    ):
        failed_songs = _failed_songs(service, run, "replay")
        chosen = await failed_songs.release(cause=cause, song_ids=song_ids)
        async with service.pool.connection() as connection:
            songs = await catalogue.chosen_without_row(
                connection, settings.songs_query, service.id_type, chosen
            )
        # The others have a row by now, or have left the catalogue.
        waiting = {str(song.song_id) for song in songs}
        await failed_songs.forget([song_id for song_id in chosen if song_id not in waiting])
        return await writer.fill("replay", _pages(songs), Report(songs_in_range=len(songs)))


async def coverage_by_range(settings: Settings, range_keys: Sequence[str]) -> list[tuple[str, int, int]]:
    """For each range its key, how many songs it has and how many of them have a row."""
    async with open_service(settings.service_url(), 1) as pool, pool.connection() as connection:
        id_type = await catalogue.id_type_of(connection, settings.songs_query)
        return [
            (
                key,
                *await catalogue.range_counts(
                    connection, settings.songs_query, SongIdRange.from_key(key, id_type)
                ),
            )
            for key in range_keys
        ]


async def evaluate_criteria(settings: Settings, range_keys: Sequence[str] = ()) -> list[Verdict]:
    """Hold song_aboutness against every criterion.

    range_keys: the ranges that were just written, where every criterion held before it was: as rows are only
    ever inserted, a large table then need not be looked at whole again.
    """
    async with _open(settings) as service:
        async with service.pool.connection() as connection:
            partly = bool(range_keys) and await heap_bytes(connection) > LOOK_AT_ALL_BELOW_BYTES
            ranges = [SongIdRange.from_key(key, service.id_type) for key in range_keys] if partly else []
            within = catalogue.within(ranges) if partly else WHOLE_TABLE
            looked_at = f"the ranges just written ({len(ranges)})" if partly else "the whole table"
            counts = await count_violations(connection, settings.rollout_at, within)
            songs, rows = await (catalogue.estimated_coverage if partly else catalogue.coverage)(
                connection, settings.songs_query
            )
        verdicts = text_verdicts(counts, looked_at)
        verdicts.append(old_style_verdict(await _old_style(service)))
        verdicts.append(ready_verdict(songs, rows, verdicts, estimated=partly))
        failed_songs = _failed_songs(service)
        verdicts.append(
            failed_songs_verdict(
                await failed_songs.count_by_cause(), await failed_songs.latest(FAILED_SONGS_SHOWN)
            )
        )
        return verdicts


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[_Service]:
    async with (
        open_service(settings.service_url(), SERVICE_POOL_SIZE) as pool,
        open_operations(settings.operations_url()) as operations,
    ):
        try:
            service = await _service(settings, pool, operations)
            async with pool.connection() as connection, operations.connection() as own:
                await record_baseline(
                    connection, own, table_id=service.table.table_id, rollout_at=settings.rollout_at
                )
            yield service
        except psycopg.Error as fault:
            raise FatalError(
                f"A database failed in the midst of the run: {postgres_message(fault)}. "
                "What was written stays and what was paid for is kept; run it again when it is mended."
            ) from fault


async def _service(settings: Settings, pool: AsyncConnectionPool, operations: Operations) -> _Service:
    async with pool.connection() as connection:
        table = await read_table(connection)
        id_type = await catalogue.id_type_of(connection, settings.songs_query)
    if id_type != ("integer" if table.id_type == "bigint" else table.id_type):
        raise FatalError(
            f"The songs' ids are {id_type}, those of song_aboutness {table.id_type}. "
            "Cast song_id in ABOUTNESS_SONGS_QUERY to the type that song_aboutness has."
        )
    return _Service(settings, pool, operations, table, id_type)


class _Writer:
    """What the ranges of one run share: the provider, its limits, the circuit breaker, the progress."""

    def __init__(
        self, service: _Service, run: Run, client: OpenAIClient, progress: Progress, log: logging.Logger
    ) -> None:
        self._service = service
        self._run = run
        self._client = client
        self._progress = progress
        self._log = log
        settings = service.settings
        self._form = VectorForm(service.table.dimension)
        self._breaker = CircuitBreaker(
            settings.breaker_unavailable, settings.breaker_bad_share, JUDGED_ANSWERS
        )
        self._unfinished = asyncio.Semaphore(UNFINISHED_PACKS)

    async def fill(self, range_key: str, pages: AsyncIterator[list[Song]], report: Report) -> Report:
        """Write rows for the songs of the pages; raises FatalError when no song can survive."""
        service, settings = self._service, self._service.settings
        self._log.info(
            "%s: %d songs, %d of them have a row already. Texts by %s, vectors by %s.",
            range_key,
            report.songs_in_range,
            report.songs_skipped_existing,
            settings.chat_model,
            settings.embedding_model,
        )
        client = self._client.counting_anew()
        journal = Journal(
            service.operations,
            table_id=service.table.table_id,
            budget=self._run.budget,
            run_id=self._run.run_id,
            range_key=range_key,
            integer_ids=service.id_type == "integer",
            max_usd=settings.max_usd,
        )
        backfill = Backfill(
            client=client,
            embedder=Embedder(client, self._form),
            journal=journal,
            failed_songs=_failed_songs(service, self._run, range_key),
            breaker=self._breaker,
            table=service.table,
            pool=service.pool,
            report=report,
            log=self._log,
            progress=self._progress,
            pack_size=settings.pack_size,
            unfinished=self._unfinished,
        )
        await backfill.fill(pages)
        self._log.info("%s: %s", range_key, report.summary())
        return report


@asynccontextmanager
async def _writer(
    service: _Service, run: Run, log: logging.Logger, ranges: int = 1
) -> AsyncIterator[_Writer]:
    settings = service.settings
    api_key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    base_url = settings.openai_base_url or OPENAI_URL
    limits = {
        kind: PostgresLimitStore(
            service.operations,
            rate_limit_name(kind, base_url, model, api_key or ""),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            waits=settings.rate_limit_waits,
        )
        for kind, model, requests_per_minute, tokens_per_minute in (
            ("chat", settings.chat_model, settings.requests_per_minute, settings.tokens_per_minute),
            ("embedding", settings.embedding_model, 0, 0),
        )
    }
    client = OpenAIClient(
        api_key=api_key,
        base_url=settings.openai_base_url,
        chat_model=settings.chat_model,
        reasoning_effort=settings.reasoning_effort,
        embedding_model=settings.embedding_model,
        request_timeout_seconds=settings.request_timeout,
        chat_throttle=Throttle(limits["chat"], max_in_flight=settings.max_in_flight),
        embedding_throttle=Throttle(limits["embedding"]),
        log=log,
    )
    async with client:
        yield _Writer(service, run, client, Progress(ranges, log), log)
    await trim(service.operations)


def _failed_songs(service: _Service, run: Run | None = None, range_key: str = "") -> FailedSongs:
    return FailedSongs(
        service.operations,
        table_id=service.table.table_id,
        run_id=run.run_id if run else "",
        range_key=range_key,
        quarantine_after=service.settings.quarantine_after,
    )


async def _pages(songs: list[Song]) -> AsyncIterator[list[Song]]:
    for first in range(0, len(songs), catalogue.PAGE_SIZE):
        yield songs[first : first + catalogue.PAGE_SIZE]


async def _old_style(service: _Service) -> OldStyleComparison:
    async with service.pool.connection() as connection, service.operations.connection() as own:
        return await compare_with_baseline(
            connection,
            own,
            table_id=service.table.table_id,
            id_type=service.table.id_type,
            rollout_at=service.settings.rollout_at,
        )

"""Reads whose cost must not grow with the tables: Postgres is asked how many rows it looked at for each.

Counted are the rows of every scan, those that a filter removed included, so a whole index that is walked
through is found as well as a whole table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.operations.connection import Operations, open_operations
from aboutness_assets.database.operations.failed_songs import FailedSongs
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.journal import Journal, Orphaned
from aboutness_assets.database.operations.ledger import PostgresLedger
from aboutness_assets.database.service import catalogue
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import Song
from aboutness_local.postgres import EmbeddedPostgres
from tests.support.service_database import ServiceDatabase, drop_service, make_service

SONGS = 20_000
RANGE = SongIdRange.from_key("000005001-000006000", "integer")
SONGS_QUERY = "select song_id, title, artist from songs"
PAGE = [Song(number, f"Title {number}", "Artist") for number in range(5_001, 6_001)]

FILL_SERVICE = """
insert into songs select n, 'Title ' || n, 'Artist' from generate_series({first}, {last}) as n;
insert into song_aboutness (song_id, emotions_text, moments_text, emotions_vector, moments_vector)
select n, 'joy', 'a morning', array_fill(0.5::real, array[8]), array_fill(0.5::real, array[8])
from generate_series({first}, {last}) as n where n % 2 = 0;
"""

# One entry per song; in each range of 1,000 all are settled but an orphaned request and a kept answer.
FILL_OPERATIONS = """
insert into aboutness_ops.chat_request
  (table_id, budget, run_id, range_key, kind, song_ids, songs, model, prompt_hash,
   answered_at, answer, settled_at, outcome)
select 'table', 'budget', 'earlier', 'range ' || (n - 1) / 1000, 'pack', array[n::text], '[["Title", ""]]',
  'model', 'hash',
  case when n % 1000 <> 1 then now() end, case when n % 1000 <> 1 then '{{}}'::bytea end,
  case when n % 1000 not in (1, 2) then now() end, case when n % 1000 not in (1, 2) then 'used' end
from generate_series({first}, {last}) as n;
insert into aboutness_ops.attempt
  (request_id, table_id, budget, run_id, range_key, kind, model, tier, state, max_usd, usd, reported_by)
select n, 'table', 'budget', 'earlier', 'range ' || (n - 1) / 1000, 'chat', 'model', 'standard',
  case when n % 1000 = 1 then 'in_flight' else 'billed' end, 0.25,
  case when n % 1000 <> 1 then 0.125 end,
  case when n % 1000 not in (1, 2) then 'earlier' end
from generate_series({first}, {last}) as n;
insert into aboutness_ops.failed_song
  (table_id, song_id, cause, reason, attempts, quarantined, request_ids, range_key, run_id)
select 'table', n::text, 'refused', 'reason', 1, false, '{{}}', 'range', 'earlier'
from generate_series({first}, {last}) as n;
insert into aboutness_ops.old_style_baseline values ('table', '2026-02-20', '{{song_id}}', now())
on conflict do nothing;
insert into aboutness_ops.old_style_row
select 'table', n::text, '' from generate_series({first}, {last}) as n;
"""
TABLES = {
    "service": ("songs", "song_aboutness"),
    "operations": (
        "aboutness_ops.chat_request",
        "aboutness_ops.attempt",
        "aboutness_ops.failed_song",
        "aboutness_ops.old_style_row",
    ),
}


def fill(url: str, statements: str, tables: Sequence[str], *, stale: bool) -> None:
    """Fill the tables; stale: Postgres' statistics are of the first fiftieth, as during a backfill."""
    with psycopg.connect(url, autocommit=True) as connection:
        if tables == TABLES["service"]:
            connection.execute("set event_triggers = off")  # they forbid DDL
        for table in tables:
            connection.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())
        connection.execute(statements.format(first=1, last=SONGS // 50).encode())
        if stale:
            connection.execute("analyze")
        connection.execute(statements.format(first=SONGS // 50 + 1, last=SONGS).encode())
        if not stale:
            connection.execute("analyze")


@pytest.fixture(scope="module", params=[False, True], ids=["analyzed", "stale"])
def service(request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres) -> Iterator[ServiceDatabase]:
    """Both databases, full."""

    async def create_schema() -> None:
        async with open_operations(made.ops_url):
            pass

    made = make_service(postgres_server, vector_type="real[]")
    asyncio.run(create_schema())
    fill(made.admin_url, FILL_SERVICE, TABLES["service"], stale=request.param)
    fill(made.ops_url, FILL_OPERATIONS, TABLES["operations"], stale=request.param)
    yield made
    drop_service(postgres_server, made)


@dataclass
class Reads:
    """The queries that were executed, to be explained afterwards."""

    queries: list[tuple[sql.Composable, Any]]
    pool: AsyncConnectionPool[AsyncConnection]

    async def rows_looked_at(self) -> int:
        """By all scans of all queries since the last call, together."""
        return sum(map(_looked_at, await self._plans()))

    async def pages_read(self) -> int:
        """Pages of tables and indexes, each as often as it was read, by all queries since the last call."""
        plans = await self._plans()
        return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)

    async def _plans(self) -> list[dict[str, Any]]:
        assert self.queries
        plans = []
        async with self.pool.connection() as connection:
            for query, parameters in self.queries:
                explain = sql.SQL("explain (analyze, buffers, timing off, format json) {}").format(query)
                cursor = psycopg.AsyncCursor(connection)
                row = await (await cursor.execute(explain, parameters)).fetchone()
                assert row is not None
                plans.append(row[0][0]["Plan"])
        self.queries.clear()
        return plans


def _looked_at(plan: dict[str, Any]) -> int:
    of_this = 0
    if "Relation Name" in plan or "Bitmap Index Scan" in plan["Node Type"]:
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        of_this = round((plan["Actual Rows"] + removed) * plan["Actual Loops"])
    return of_this + sum(_looked_at(child) for child in plan.get("Plans", ()))


async def reads_of(url: str) -> AsyncIterator[Reads]:
    queries: list[tuple[sql.Composable, Any]] = []

    class Recording(AsyncCursor[Any]):
        async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            text = query if isinstance(query, sql.Composable) else sql.SQL(query)
            if text.as_string().strip().startswith(("select", "with")):
                queries.append((text, params))
            return await super().execute(query, params, **options)

    arguments = {"autocommit": True, "cursor_factory": Recording}
    async with AsyncConnectionPool(url, min_size=1, max_size=2, open=False, kwargs=arguments) as pool:
        yield Reads(queries, pool)


@pytest.fixture
async def catalogue_reads(service: ServiceDatabase) -> AsyncIterator[Reads]:
    """Reads of the service's database."""
    async for reads in reads_of(service.url):
        yield reads


@pytest.fixture
async def our_reads(service: ServiceDatabase) -> AsyncIterator[Reads]:
    """Reads of our own database."""
    async for reads in reads_of(service.ops_url):
        yield reads


async def test_a_page_of_songs_looks_at_its_own_songs_and_rows(catalogue_reads: Reads) -> None:
    pages = catalogue.pages_without_row(catalogue_reads.pool, SONGS_QUERY, RANGE, 100)

    assert [len(page) async for page in pages] == [50] * 10
    assert await catalogue_reads.rows_looked_at() <= 2 * 1_000


async def test_the_counts_of_a_range_look_at_its_own_songs_and_rows(catalogue_reads: Reads) -> None:
    async with catalogue_reads.pool.connection() as connection:
        assert await catalogue.range_counts(connection, SONGS_QUERY, RANGE) == (1_000, 500)
    assert await catalogue_reads.rows_looked_at() <= 2 * 1_000


async def test_the_counts_of_a_range_look_into_each_index_once(catalogue_reads: Reads) -> None:
    """A look per song would read the upper pages of an index for each, the more the larger it is."""
    async with catalogue_reads.pool.connection() as connection:
        await catalogue.range_counts(connection, SONGS_QUERY, RANGE)
    assert await catalogue_reads.pages_read() <= 100


async def test_the_counts_of_many_ranges_look_at_no_other_songs_and_rows(catalogue_reads: Reads) -> None:
    ranges = [SongIdRange("integer", first, first + 999) for first in (5_001, 18_001, 19_501, 100_001)]
    async with catalogue_reads.pool.connection() as connection:
        counts = await catalogue.counts_of_each(connection, SONGS_QUERY, ranges)
        assert counts == [(1_000, 500), (1_000, 500), (500, 250), (0, 0)]
    queries = list(catalogue_reads.queries)
    assert await catalogue_reads.rows_looked_at() <= 2 * 2_500
    catalogue_reads.queries += queries
    assert await catalogue_reads.pages_read() <= 300


async def test_old_style_rows_are_compared_by_primary_key(catalogue_reads: Reads) -> None:
    old_style_rows = pytest.importorskip("aboutness_assets.database.service.old_style_rows")
    async with catalogue_reads.pool.connection() as connection:
        rows = old_style_rows.OldStyleRows(connection, "integer")
        assert len(await rows.digests_of(["song_id"], [str(n) for n in range(2, 202, 2)])) == 100
    assert await catalogue_reads.rows_looked_at() <= 2 * 100


def _journal(reads: Reads) -> Journal:
    operations = Operations(reads.pool)
    run = RangeRun("table", "range 5", "now", "budget")
    ledger = PostgresLedger(operations, run, IdBlocks(operations, "attempt"), None)
    return Journal(operations, run, "integer", ledger, IdBlocks(operations, "chat_request"))


JOURNAL_READS: dict[str, tuple[Callable[[Journal], Awaitable[Sequence[object]]], int, int]] = {
    # How it is read, how many entries it finds and how many it may look at. Answers to songs may be of any
    # range, so these are the open entries of the whole table (2 per range), but never the settled ones.
    "kept answers of a range": (lambda journal: journal.kept_answers_of_range(), 1, 4),
    "kept answers of songs": (lambda journal: journal.kept_answers(PAGE), 1, 2 * 2 * SONGS // 1_000),
    "answers by request": (lambda journal: journal.answers([2, 3, 5_002]), 3, 6),
}


@pytest.mark.parametrize("name", JOURNAL_READS)
async def test_the_journal_looks_at_no_settled_entries(our_reads: Reads, name: str) -> None:
    read, found, looked_at = JOURNAL_READS[name]

    assert len(await read(_journal(our_reads))) == found
    assert await our_reads.rows_looked_at() <= looked_at


async def test_orphaned_requests_are_found_by_their_range(our_reads: Reads) -> None:
    assert await _journal(our_reads).settle_orphaned_requests() == Orphaned(1, 0.25)
    assert await our_reads.rows_looked_at() <= 4


async def test_a_range_is_reported_by_a_look_at_its_own_attempts_alone(our_reads: Reads) -> None:
    operations = Operations(our_reads.pool)
    run = RangeRun("table", "range 5", "now", "budget")
    totals = await PostgresLedger(operations, run, IdBlocks(operations, "attempt"), None).report()

    assert totals.usd == 0.125
    assert await our_reads.rows_looked_at() <= 1_100


async def test_failed_songs_are_found_by_their_ids(our_reads: Reads) -> None:
    failed_songs = FailedSongs(
        Operations(our_reads.pool), RangeRun("table", "range", "now", "budget"), quarantine_after=3
    )

    assert len(await failed_songs.among(PAGE)) == 1_000
    assert await our_reads.rows_looked_at() <= 2 * 1_000

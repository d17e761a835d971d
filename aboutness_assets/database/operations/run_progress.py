"""How far the runs of a backfill are: a row per run, which it updates every few seconds, and their sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from psycopg import AsyncConnection
from psycopg.rows import class_row

from aboutness_assets.database.operations.connection import Operations

HEARD_OF_SECONDS = 30.0
"""A run that has updated its row for so long no more is not counted as running."""

Outcome: TypeAlias = Literal["done", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class RunRow:
    """What a run tells of itself. outcome: None while it runs. usd: None where a price is unknown."""

    ranges_done: int
    songs_written: int
    usd: float | None
    uncertain_usd: float
    songs_per_second: float
    is_settled: bool
    limited_by: str | None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted at one moment: the backfill's ranges, and the whole catalogue."""

    ranges: int
    songs: int
    songs_with_row: int
    catalogue_songs: int
    catalogue_with_row: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BackfillState:
    """Sums over all runs of a backfill, and what was counted; songs… are None until it is.

    seconds: since it began. failed, catalogue_failed: songs on record as failed, that this backfill's runs
    tried or left out, and all. written_since, all_written_since: rows that the backfill's runs, and all runs
    on the table, have written since it was counted. usd: None where a price is unknown. running: run ids.
    silent_runs: that have not ended and are heard of no more, at last at silent_since. songs_per_second: of
    those that run; is_settled: whether that tells how long the rest takes. budget_usd: billed from the
    budget, by whatever run.
    """

    seconds: float
    observations: int
    counting_run: str | None
    counted_at: datetime | None
    count_seconds: float | None
    ranges: int | None
    songs: int | None
    songs_with_row: int | None
    catalogue_songs: int | None
    catalogue_with_row: int | None
    written: int
    written_since: int
    all_written_since: int
    failed: int
    catalogue_failed: int
    usd: float | None
    uncertain_usd: float
    budget_usd: float
    budget_uncertain_usd: float
    ranges_done: int
    runs: int
    running: list[str]
    silent_runs: int
    silent_since: datetime | None
    songs_per_second: float
    is_settled: bool
    limited_by: list[str]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The record of one run over ranges of a table."""

    operations: Operations
    table_id: str
    backfill_id: str
    run_id: str
    budget: str

    async def begin(self, range_keys: Sequence[str]) -> None:
        """Enter the run and, where it is the first, its backfill."""

        async def insert(connection: AsyncConnection) -> None:
            await connection.execute(
                "insert into aboutness_ops.backfill (table_id, backfill_id) values (%s, %s)"
                " on conflict do nothing",
                [self.table_id, self.backfill_id],
            )
            await connection.execute(
                "insert into aboutness_ops.filling_run (table_id, run_id, backfill_id, range_keys, usd)"
                " values (%s, %s, %s, %s, 0) on conflict (table_id, run_id) do update"
                " set ended_at = null, outcome = null, updated_at = clock_timestamp()",
                [self.table_id, self.run_id, self.backfill_id, list(range_keys)],
            )

        await self.operations.transact(insert)

    async def update(self, row: RunRow) -> None:
        """What the run has done by now."""

        async def update(connection: AsyncConnection) -> None:
            await connection.execute(
                "update aboutness_ops.filling_run set updated_at = clock_timestamp(), ranges_done = %s,"
                " songs_written = %s, usd = %s, uncertain_usd = %s, songs_per_second = %s, is_settled = %s,"
                " limited_by = %s, outcome = %s,"
                " ended_at = case when %s::text is not null then clock_timestamp() end"
                " where table_id = %s and run_id = %s",
                [
                    *(row.ranges_done, row.songs_written, row.usd, row.uncertain_usd),
                    *(row.songs_per_second, row.is_settled, row.limited_by, row.outcome, row.outcome),
                    *(self.table_id, self.run_id),
                ],
            )

        await self.operations.query(update)

    async def ledger_sums(self) -> tuple[float | None, float]:
        """What the ledger says of the run: dollars billed (None where a price is unknown), and uncertain."""

        async def select(connection: AsyncConnection) -> tuple[float | None, float]:
            cursor = await connection.execute(
                "select case when count(*) filter (where a.state = 'billed' and a.usd is null) = 0"
                "  then coalesce(sum(a.usd), 0)::float8 end,"
                " coalesce(sum(a.max_usd) filter (where a.state = 'uncertain'), 0)::float8"
                " from aboutness_ops.filling_run r join aboutness_ops.attempt a"
                "  on a.table_id = r.table_id and a.range_key = any(r.range_keys) and a.run_id = r.run_id"
                " where r.table_id = %s and r.run_id = %s",
                [self.table_id, self.run_id],
            )
            row = await cursor.fetchone()
            assert row is not None
            return row[0], row[1]

        return await self.operations.query(select)

    async def take_observation(
        self, *, least_seconds: float, share: float, in_any_case: bool = False
    ) -> bool:
        """Whether this run is to make the next observation; only one run hears so.

        It is due when the last one is ``least_seconds`` old, and ``share`` of the time since the backfill
        began.
        """

        async def update(connection: AsyncConnection) -> bool:
            cursor = await connection.execute(
                "update aboutness_ops.backfill set last_observed_at = clock_timestamp(),"
                " observations = observations + 1 where table_id = %s and backfill_id = %s"
                " and (%s or last_observed_at is null or last_observed_at <= clock_timestamp()"
                "  - greatest(make_interval(secs => %s), (clock_timestamp() - begun_at) * %s::float8))",
                [self.table_id, self.backfill_id, in_any_case, least_seconds, share],
            )
            return cursor.rowcount == 1

        return await self.operations.query(update)

    async def take_count(self, *, again: bool = False) -> tuple[int, int] | None:
        """What is written so far by the backfill's runs and by all, if this run is to count now, else None.

        It is, where nobody has counted and whoever was to count is heard of no more. again: where it was
        counted, and no other run is at work on the table.
        """

        async def update(connection: AsyncConnection) -> tuple[int, int] | None:
            cursor = await connection.execute(
                "with running as (select run_id from aboutness_ops.filling_run where table_id = %(table_id)s"
                "  and run_id <> %(run_id)s and ended_at is null"
                "  and updated_at >= clock_timestamp() - make_interval(secs => %(heard)s))"
                " update aboutness_ops.backfill set counting_run = %(run_id)s"
                " where table_id = %(table_id)s and backfill_id = %(backfill_id)s and case when %(again)s"
                "  then counted_at is not null and not exists (select from running)"
                "  else counted_at is null and not exists"
                "   (select from running where running.run_id = counting_run) end"
                " returning (select coalesce(sum(songs_written), 0)::bigint from aboutness_ops.filling_run r"
                "  where r.table_id = %(table_id)s and r.backfill_id = %(backfill_id)s),"
                " (select coalesce(sum(songs_written), 0)::bigint from aboutness_ops.filling_run r"
                "  where r.table_id = %(table_id)s)",
                {
                    "table_id": self.table_id,
                    "backfill_id": self.backfill_id,
                    "run_id": self.run_id,
                    "heard": HEARD_OF_SECONDS,
                    "again": again,
                },
            )
            return await cursor.fetchone()

        return await self.operations.query(update)

    async def keep_counts(self, counts: Counts, written_before: tuple[int, int]) -> None:
        """Keep what was counted; written_before: as take_count said."""

        async def update(connection: AsyncConnection) -> None:
            await connection.execute(
                "update aboutness_ops.backfill set counted_at = clock_timestamp(), ranges = %s, songs = %s,"
                " songs_with_row = %s, catalogue_songs = %s, catalogue_with_row = %s, count_seconds = %s,"
                " written_before = %s, all_written_before = %s where table_id = %s and backfill_id = %s",
                [
                    *(counts.ranges, counts.songs, counts.songs_with_row),
                    *(counts.catalogue_songs, counts.catalogue_with_row, counts.seconds),
                    *written_before,
                    *(self.table_id, self.backfill_id),
                ],
            )

        await self.operations.query(update)

    async def state(self) -> BackfillState:
        """How far the backfill is."""

        async def select(connection: AsyncConnection) -> BackfillState:
            cursor = connection.cursor(row_factory=class_row(BackfillState))
            await cursor.execute(
                _STATE,
                {
                    "table_id": self.table_id,
                    "backfill_id": self.backfill_id,
                    "run_id": self.run_id,
                    "budget": self.budget,
                    "heard": HEARD_OF_SECONDS,
                },
            )
            state = await cursor.fetchone()
            assert state is not None
            return state

        return await self.operations.query(select)


# The pace of the run that asks counts at its end too.
_STATE = """
with run as (
  select *, ended_at is null and is_heard_of as running, ended_at is null and not is_heard_of as silent
  from aboutness_ops.filling_run,
    lateral (select updated_at >= clock_timestamp() - make_interval(secs => %(heard)s)) as h(is_heard_of)
  where table_id = %(table_id)s and backfill_id = %(backfill_id)s
), sums as (
  select coalesce(sum(songs_written), 0)::bigint as written,
    case when bool_and(usd is not null) then sum(usd) end as usd,
    coalesce(sum(uncertain_usd), 0) as uncertain_usd, coalesce(sum(ranges_done), 0)::integer as ranges_done,
    count(*)::integer as runs,
    coalesce(array_agg(run_id order by begun_at) filter (where running), '{}') as running,
    (count(*) filter (where silent))::integer as silent_runs,
    max(updated_at) filter (where silent) as silent_since,
    coalesce(sum(songs_per_second) filter (where running or run_id = %(run_id)s), 0) as songs_per_second,
    coalesce(bool_or(is_settled) filter (where running), false) as is_settled,
    coalesce(array_agg(distinct limited_by) filter (where running and limited_by is not null), '{}')
      as limited_by
  from run
)
select extract(epoch from clock_timestamp() - b.begun_at)::float8 as seconds, b.observations, b.counting_run,
  b.counted_at, b.count_seconds, b.ranges, b.songs, b.songs_with_row, b.catalogue_songs, b.catalogue_with_row,
  sums.written, sums.written - coalesce(b.written_before, 0) as written_since,
  (select coalesce(sum(songs_written), 0)::bigint from aboutness_ops.filling_run where table_id = b.table_id)
    - coalesce(b.all_written_before, 0) as all_written_since,
  (select count(*) from aboutness_ops.failed_song f where f.table_id = b.table_id and (
    f.run_id in (select run_id from run)
    or f.quarantined and f.range_key in (select unnest(range_keys) from run))) as failed,
  (select count(*) from aboutness_ops.failed_song f where f.table_id = b.table_id) as catalogue_failed,
  sums.usd, sums.uncertain_usd, coalesce(budget.billed_usd, 0)::float8 as budget_usd,
  coalesce(budget.uncertain_usd, 0)::float8 as budget_uncertain_usd,
  sums.ranges_done, sums.runs, sums.running, sums.silent_runs, sums.silent_since, sums.songs_per_second,
  sums.is_settled, sums.limited_by
from sums, aboutness_ops.backfill b
left join aboutness_ops.budget on budget.table_id = b.table_id and budget.budget = %(budget)s
where b.table_id = %(table_id)s and b.backfill_id = %(backfill_id)s
"""

"""What the checks have looked at, and what they know: the record in our own Postgres.

A run marks its ranges before it writes to them. The checks look at marked ranges and remove the marks, so a
run that was killed before its checks, or between them, leaves its ranges marked for the next one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from aboutness_assets.database.operations.connection import Operations

WHOLE_TABLE_KEY = ""
"""In the place of a range key: a run that may write any row, or what lies in no range."""


@dataclass(frozen=True, slots=True)
class WholeLook:
    """The last look at the whole table: when it began, and how many rows there were."""

    looked_at: datetime
    rows: int


@dataclass(frozen=True, slots=True)
class KeptCoverage:
    """Sums over ranges that were counted; missing: keys that were not, or counts of keys that are gone."""

    songs: int
    with_row: int
    oldest: datetime | None
    missing: list[str]
    superfluous: list[str]


@dataclass(frozen=True, slots=True)
class Verification:
    """The record of one table. The checks hold its lock (locks.checks_alone) while they change it."""

    operations: Operations
    table_id: str

    async def mark(self, range_keys: Collection[str]) -> None:
        """Note that these ranges are about to be written to, by a run that holds them."""

        async def insert(connection: AsyncConnection) -> None:
            await connection.execute(
                "insert into aboutness_ops.unverified_range (table_id, range_key)"
                " select %s, key from unnest(%s::text[]) as key"
                " on conflict (table_id, range_key) do update set marked_at = clock_timestamp()",
                [self.table_id, sorted(set(range_keys))],
            )

        await self.operations.query(insert)

    async def marked(self) -> dict[str, datetime]:
        """The marked ranges, and when each was marked last."""

        async def select(connection: AsyncConnection) -> dict[str, datetime]:
            cursor = await connection.execute(
                "select range_key, marked_at from aboutness_ops.unverified_range where table_id = %s",
                [self.table_id],
            )
            return dict(await cursor.fetchall())

        return await self.operations.query(select)

    async def whole_look(self, criteria: str) -> WholeLook | None:
        """The last look at the whole table with the same demands, if all that it found is on record."""

        async def select(connection: AsyncConnection) -> WholeLook | None:
            cursor = await connection.execute(
                "select looked_at, row_count from aboutness_ops.whole_look"
                " where table_id = %s and criteria = %s",
                [self.table_id, criteria],
            )
            row = await cursor.fetchone()
            return None if row is None else WholeLook(*row)

        return await self.operations.query(select)

    async def violations(self) -> dict[str, list[str]]:
        """The song ids (as text) that are known to violate something, by violation."""

        async def select(connection: AsyncConnection) -> dict[str, list[str]]:
            cursor = await connection.execute(
                "select violation, array_agg(song_id order by song_id) from aboutness_ops.violation"
                " where table_id = %s group by violation",
                [self.table_id],
            )
            return dict(await cursor.fetchall())

        return await self.operations.query(select)

    async def record(
        self,
        violations: Mapping[str, Collection[str]],
        verified: Mapping[str, datetime],
        whole: tuple[str, WholeLook] | None = None,
    ) -> None:
        """Record all violations known now, and remove the marks of ranges that were looked at.

        verified: as they were marked; one that was marked again since stays. whole: the demands and the look,
        where it was at the whole table.
        """

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                "delete from aboutness_ops.violation where table_id = %s", [self.table_id]
            )
            await connection.cursor().executemany(
                "insert into aboutness_ops.violation values (%s, %s, %s)",
                [(self.table_id, name, song_id) for name, ids in violations.items() for song_id in ids],
            )
            await connection.execute(
                "delete from aboutness_ops.unverified_range where table_id = %s and (range_key, marked_at)"
                " in (select * from unnest(%s::text[], %s::timestamptz[]))",
                [self.table_id, list(verified), list(verified.values())],
            )
            if whole is not None:
                criteria, look = whole
                await connection.execute(
                    "insert into aboutness_ops.whole_look values (%s, %s, %s, %s) on conflict (table_id)"
                    " do update set (criteria, looked_at, row_count)"
                    " = (excluded.criteria, excluded.looked_at, excluded.row_count)",
                    [self.table_id, criteria, look.looked_at, look.rows],
                )

        await self.operations.transact(write)

    async def forget_whole_look(self) -> None:
        """The next checks look at the whole table again."""

        async def delete(connection: AsyncConnection) -> None:
            await connection.execute(
                "delete from aboutness_ops.whole_look where table_id = %s", [self.table_id]
            )

        await self.operations.query(delete)

    async def kept_coverage(self, range_keys: Sequence[str], songs_query: str) -> KeptCoverage:
        """The sums of what was counted for these ranges and for what lies in none of them."""

        async def select(connection: AsyncConnection) -> KeptCoverage:
            cursor = await connection.execute(
                "select coalesce(sum(songs), 0)::bigint, coalesce(sum(songs_with_row), 0)::bigint,"
                " min(counted_at), array_agg(asked.range_key) filter (where kept.range_key is null),"
                " array_agg(kept.range_key) filter (where asked.range_key is null)"
                " from (select * from aboutness_ops.range_coverage where table_id = %s and songs_query = %s)"
                " as kept full join json_array_elements_text(%s::json) as asked(range_key) using (range_key)",
                # As JSON, since psycopg takes ten times as long to write 10,000 keys as an array.
                [self.table_id, songs_query, json.dumps([WHOLE_TABLE_KEY, *range_keys])],
            )
            row = await cursor.fetchone()
            assert row is not None
            return KeptCoverage(row[0], row[1], row[2], row[3] or [], row[4] or [])

        return await self.operations.query(select)

    async def keep_coverage(
        self, counts: Mapping[str, tuple[int, int]], songs_query: str, superfluous: Collection[str] = ()
    ) -> None:
        """Keep (songs, songs with a row) per range key, and drop what was kept for keys that are gone."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                "delete from aboutness_ops.range_coverage"
                " where table_id = %s and (songs_query <> %s or range_key = any(%s))",
                [self.table_id, songs_query, [*counts, *superfluous]],
            )
            await connection.cursor().executemany(
                "insert into aboutness_ops.range_coverage values (%s, %s, %s, %s, %s)",
                [(self.table_id, key, songs_query, *count) for key, count in counts.items()],
            )

        await self.operations.transact(write)

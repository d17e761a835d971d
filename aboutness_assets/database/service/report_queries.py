"""Reads of the readiness report: what the rows of one range are like, and sums over the whole table.

Every function is one short transaction that only reads, bounded by a statement timeout. Rows that are on
record as old-style are left out by their ids, so that no date hides a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection, errors, sql

from aboutness_assets.database.service import catalogue
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.database.service.id_columns import CASTS
from aboutness_assets.database.service.range_conditions import within
from aboutness_assets.database.service.songs_query import read_songs, songs_subquery
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import IdType

T = TypeVar("T")

RANGE_TIMEOUT_MS = 30_000
"""For one statement about one range: a range of 1,000 rows takes a hundredth of a second."""

WHOLE_TIMEOUT_MS = 60_000
"""For one statement about all ids of a table: 10 million take about ten seconds."""

RANDOM_ROWS = 4
"""Rows of each range, chosen by a hash of their ids, among which a sample is chosen."""

_ROWS = sql.SQL("""
select song_id::text as song_id, song_id::text collate "C" as id_text,
       coalesce(emotions_text::text, '') as emotions, coalesce(emotions_confidence::text, '') as e_confidence,
       coalesce(moments_text::text, '') as moments, coalesce(moments_confidence::text, '') as m_confidence,
       created_at
from song_aboutness where {within} and {new}
""")

# Both aggregates of a group see its rows in one order. "C": a collation that every text can be hashed in.
_TEXTS = sql.SQL("""
with rows as ({rows})
select kind, lower(confidence), string_agg(int4send(char_length(text)), ''::bytea),
       string_agg(int8send(hashtextextended(text collate "C", 0)), ''::bytea)
from rows cross join lateral (
    values ('emotions', emotions, e_confidence), ('moments', moments, m_confidence)
) as texts (kind, text, confidence)
group by 1, 2
""")

_ROWS_OF_HASHES = sql.SQL("""
with rows as ({rows})
select distinct on (kind, hash) kind, hash, song_id, emotions, e_confidence, moments, m_confidence
from rows cross join lateral (values ('emotions', emotions), ('moments', moments)) as texts (kind, text)
cross join lateral (select hashtextextended(text collate "C", 0)) as hashed (hash)
where hash = any(%(hashes)s)
order by kind, hash, id_text
""")

_BY_SECOND = sql.SQL("""
with rows as ({rows})
select date_trunc('second', created_at::timestamptz), count(*)
from rows where created_at between '1970-01-01' and '2200-01-01' group by 1
""")

_CANDIDATES = sql.SQL("""
with rows as materialized (
    select *, char_length(emotions) as e_length, char_length(moments) as m_length,
           hashtextextended(id_text, 0) as hash,
           case lower(e_confidence) when 'high' then 2 when 'medium' then 1 else 0 end
           + case lower(m_confidence) when 'high' then 2 when 'medium' then 1 else 0 end as confidence
    from ({rows}) as these
)
select song_id, emotions, e_confidence, moments, m_confidence from (
    (select * from rows order by least(e_length, m_length), hash limit 1)
    union all (select * from rows order by greatest(e_length, m_length) desc, hash limit 1)
    union all (select * from rows order by confidence, hash limit 1)
    union all (select * from rows order by hash limit {random})
) as chosen
""")

_NAMES = sql.SQL("""
select distinct on (s.song_id) s.song_id::text, coalesce(s.title::text, ''), coalesce(s.artist::text, '')
from {songs} as s where s.song_id = any(%(song_ids)s::text[]::{cast}[])
order by s.song_id, 2, 3
""")

_OLD_DATED = sql.SQL("select song_id::text from song_aboutness where {within} and created_at < {rollout_at}")


@dataclass(frozen=True, slots=True)
class Texts:
    """The new texts of one kind and one confidence in a range; lengths in characters, and hashes, by row.

    kind: "emotions" or "moments". confidence: as stored, in lower case; '' where there is none.
    """

    kind: str
    confidence: str
    lengths: NDArray[np.int32]
    hashes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowTexts:
    """Texts and confidences of one row, as stored."""

    song_id: str
    emotions: str
    emotions_confidence: str
    moments: str
    moments_confidence: str


@dataclass(frozen=True, slots=True)
class RangeRows:
    """What the new rows of a range are like.

    by_second: how many were created in which second; rows of before 1970 and after 2200 are left out, as such
    dates may be infinite. candidates: the shortest, the longest, the least confident row, and some by a hash
    of their ids; a row may be there more than once.
    """

    texts: list[Texts]
    by_second: list[tuple[datetime, int]]
    candidates: list[RowTexts]


@dataclass(frozen=True, slots=True)
class ReportQueries:
    """The service's database, read for a report."""

    pool: ServicePool
    songs_query: str
    id_type: IdType

    async def coverage(self) -> tuple[int, int] | None:
        """How many songs the catalogue has, and how many of them have a row; None where it takes too long."""
        return await self._read(
            WHOLE_TIMEOUT_MS, lambda connection: catalogue.coverage(connection, self.songs_query)
        )

    async def rows(self) -> int | None:
        """How many rows song_aboutness has; None where counting takes too long."""

        async def count(connection: AsyncConnection) -> int:
            row = await (await connection.execute("select count(*) from song_aboutness")).fetchone()
            assert row is not None
            return int(row[0])

        return await self._read(WHOLE_TIMEOUT_MS, count)

    async def range_counts(self, ranges: Sequence[SongIdRange]) -> list[tuple[int, int] | None]:
        """Per range how many songs it has and how many have a row, in one transaction; None: too slow.

        If one range takes too long, each is counted in a transaction of its own.
        """
        counts = await self._read(
            RANGE_TIMEOUT_MS,
            lambda connection: catalogue.counts_of_each(connection, self.songs_query, ranges),
        )
        if counts is not None:
            return [*counts]
        if len(ranges) == 1:
            return [None]
        return [count for each in ranges for count in await self.range_counts([each])]

    async def dated_before(self, song_id_range: SongIdRange, moment: datetime) -> list[str] | None:
        """The song ids, as text, of the range's rows created before a moment; None: it takes too long."""
        statement = _OLD_DATED.format(within=within([song_id_range]), rollout_at=sql.Literal(moment))

        async def select(connection: AsyncConnection) -> list[str]:
            return [song_id for (song_id,) in await (await connection.execute(statement)).fetchall()]

        return await self._read(RANGE_TIMEOUT_MS, select)

    async def rows_of_range(self, song_id_range: SongIdRange, old_style: Collection[str]) -> RangeRows | None:
        """What a range's new rows are like; None where it takes too long.

        old_style: ids, as text, of the range's rows that are on record as old-style.
        """
        rows = self._new_rows(song_id_range, old_style)

        async def select(connection: AsyncConnection) -> RangeRows:
            texts = await connection.execute(_TEXTS.format(rows=rows), binary=True)
            by_second = await connection.execute(_BY_SECOND.format(rows=rows))
            candidates = await connection.execute(
                _CANDIDATES.format(rows=rows, random=sql.Literal(RANDOM_ROWS))
            )
            return RangeRows(
                [
                    Texts(
                        kind,
                        confidence,
                        np.frombuffer(lengths, ">i4").astype(np.int32),
                        np.frombuffer(hashes, ">i8").astype(np.int64),
                    )
                    for kind, confidence, lengths, hashes in await texts.fetchall()
                ],
                await by_second.fetchall(),
                [RowTexts(*row) for row in await candidates.fetchall()],
            )

        return await self._read(RANGE_TIMEOUT_MS, select)

    async def rows_of_hashes(
        self, song_id_range: SongIdRange, old_style: Collection[str], hashes: Sequence[int]
    ) -> dict[tuple[str, int], RowTexts]:
        """One of the range's new rows per kind and hash of a text, of those hashes that it has."""
        statement = _ROWS_OF_HASHES.format(rows=self._new_rows(song_id_range, old_style))

        async def select(connection: AsyncConnection) -> dict[tuple[str, int], RowTexts]:
            cursor = await connection.execute(statement, {"hashes": list(hashes)})
            return {(kind, found): RowTexts(*row) for kind, found, *row in await cursor.fetchall()}

        return await self._read(RANGE_TIMEOUT_MS, select) or {}

    async def names(self, song_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Title and artist of these songs (ids as text), of those that the catalogue has."""
        statement = _NAMES.format(songs=songs_subquery(self.songs_query), cast=CASTS[self.id_type])

        async def select(connection: AsyncConnection) -> dict[str, tuple[str, str]]:
            cursor = await read_songs(connection, statement, {"song_ids": list(song_ids)})
            return {song_id: (title, artist) for song_id, title, artist in await cursor.fetchall()}

        return await self._read(RANGE_TIMEOUT_MS, select) or {}

    def _new_rows(self, song_id_range: SongIdRange, old_style: Collection[str]) -> sql.Composed:
        new: sql.Composable = sql.SQL("true")
        if old_style:
            new = sql.SQL("song_id <> all({}::{}[])").format(
                sql.Literal(list(old_style)), CASTS[self.id_type]
            )
        return _ROWS.format(within=within([song_id_range]), new=new)

    async def _read(self, timeout_ms: int, read: Callable[[AsyncConnection], Awaitable[T]]) -> T | None:
        """What ``read`` gives in a read-only transaction; None where a statement or a lock takes longer."""
        async with self.pool.connection() as connection:
            await connection.execute("set transaction read only")
            await connection.execute("select set_config('statement_timeout', %s, true)", [str(timeout_ms)])
            try:
                return await read(connection)
            except (errors.QueryCanceled, errors.LockNotAvailable):
                await connection.rollback()
                return None

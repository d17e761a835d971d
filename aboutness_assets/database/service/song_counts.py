"""Counts songs as they are at one moment, on a connection of its own, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from psycopg import AsyncConnection

from aboutness_assets.database.service import catalogue
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.domain.id_ranges import SongIdRange, covered_intervals
from aboutness_assets.domain.songs import IdType


@dataclass(frozen=True, slots=True)
class SongCounts:
    """Counts in one snapshot. Each count is (songs, of these with a row)."""

    connection: AsyncConnection
    songs_query: str
    id_type: IdType

    async def of_each(self, range_keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Of each range, by key; one short query per range."""
        return {key: await self._of_range(key) for key in range_keys}

    async def of_all(self, range_keys: Sequence[str]) -> tuple[int, int]:
        """Of all these ranges together."""
        if self.id_type == "integer":
            intervals = covered_intervals(range_keys)
            return await catalogue.counts_between(self.connection, self.songs_query, intervals)
        counts = [await self._of_range(key) for key in range_keys]
        return sum(songs for songs, _ in counts), sum(with_row for _, with_row in counts)

    async def of_catalogue(self) -> tuple[int, int]:
        """Of the whole catalogue; reads all ids of both tables."""
        return await catalogue.coverage(self.connection, self.songs_query)

    async def _of_range(self, range_key: str) -> tuple[int, int]:
        song_id_range = SongIdRange.from_key(range_key, self.id_type)
        return await catalogue.range_counts(self.connection, self.songs_query, song_id_range)


@asynccontextmanager
async def counted_now(pool: ServicePool, songs_query: str, id_type: IdType) -> AsyncIterator[SongCounts]:
    """Counts of the state at entry, however late they are made."""
    async with pool.snapshot() as connection:
        yield SongCounts(connection, songs_query, id_type)

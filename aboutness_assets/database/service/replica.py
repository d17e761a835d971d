"""Songs read from a replica of the catalogue, which may lag; which of them have a row, the primary says.

Of the replica the songs query alone is asked, so it need not have song_aboutness.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.catalogue import (
    PAGE_SIZE,
    pages_of_songs,
    pages_without_row,
    range_counts,
)
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import Song


@dataclass(frozen=True, slots=True)
class SongReader:
    """Reads the songs of ranges: from the primary, or from a replica where there is one."""

    table: AboutnessTable
    songs_query: str
    primary: ServicePool
    replica: ServicePool | None = None

    async def pages_without_row(
        self, song_id_range: SongIdRange, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[list[Song]]:
        """The songs of a range that have no row, in the order of ids, in pages of 1 to ``page_size`` songs.

        Each page is one or two queries on connections that are back in their pool before it is handed out.
        """
        if self.replica is None:
            async for page in pages_without_row(self.primary, self.songs_query, song_id_range, page_size):
                yield page
            return
        async for songs in pages_of_songs(self.replica, self.songs_query, song_id_range, page_size):
            have_row = await self.table.existing(self.primary, [song.song_id for song in songs])
            if page := [song for song in songs if song.song_id not in have_row]:
                yield page

    async def range_counts(self, song_id_range: SongIdRange) -> tuple[int, int]:
        """How many songs a range has, and how many of them have a row."""
        if self.replica is None:
            async with self.primary.connection() as connection:
                return await range_counts(connection, self.songs_query, song_id_range)
        songs = with_row = 0
        async for page in pages_of_songs(self.replica, self.songs_query, song_id_range):
            songs += len(page)
            with_row += len(await self.table.existing(self.primary, [song.song_id for song in page]))
        return songs, with_row

"""Reads of songs: those that have no row of song_aboutness yet, and how many there are.

Every function takes ``songs_query``, the setting ABOUTNESS_SONGS_QUERY: a SELECT of song_id, title, artist,
only ever used as a subquery. Where ranges are cut is range_boundaries.py's.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.errors import SerializationFailure
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.service.connection import keep_short
from aboutness_assets.database.service.id_columns import CASTS
from aboutness_assets.database.service.range_conditions import within_after
from aboutness_assets.database.service.songs_query import read_songs, songs_subquery
from aboutness_assets.domain.id_ranges import Interval, SongIdRange
from aboutness_assets.domain.songs import IdType, Song, SongId, song_id_of

PAGE_SIZE = 1000
"""Songs read at once."""

PAGE_ATTEMPTS = 6
"""A standby cancels a read that is in the way of what it replays; a page is asked for so often."""

SECONDS_BETWEEN_ATTEMPTS = 0.5

# One song per id, whatever a join repeats. The inner limit keeps Postgres at one look into the primary key
# per song: otherwise it reads all of song_aboutness wherever it believes that table small, as it does while
# the table grows faster than its statistics.
_PAGE = sql.SQL("""
select page.song_id, page.title, page.artist, found.row is not null as has_row
from (
    select distinct on (s.song_id) s.song_id,
           coalesce(s.title::text, '') as title, coalesce(s.artist::text, '') as artist
    from {songs} as s where {within} order by s.song_id, 2, 3 limit %(limit)s
) as page
left join lateral (
    select true as row from song_aboutness as a where a.song_id = page.song_id limit 1
) as found on true
order by page.song_id
""")

_SONGS_PAGE = sql.SQL("""
select distinct on (s.song_id) s.song_id, coalesce(s.title::text, ''), coalesce(s.artist::text, ''), false
from {songs} as s where {within} order by s.song_id, 2, 3 limit %(limit)s
""")

# Each index is read once, from the range's first id to its last: a look into the primary key per song takes
# twice as long, and longer in a larger table. INTERSECT compares sets, so no statistics, however
# wrong, make Postgres compare each song with each row; and where both ends are unknown when it plans, it
# expects few rows, even of a range that is open at one end.
_RANGE_COUNTS = sql.SQL("""
with ids as materialized (select distinct s.song_id from {songs} as s where {within})
select (select count(*) from ids), (
    select count(*) from (
        select song_id from ids
        intersect all
        select a.song_id from song_aboutness as a
        where a.song_id between (select song_id from ids order by song_id limit 1)
              and (select song_id from ids order by song_id desc limit 1)
    ) as with_row
)
""")

# As above, for many ranges in one statement, so that it is planned once: that takes as long as a count.
_COUNTS_OF_EACH = sql.SQL("""
select counted.songs, counted.with_row
from unnest(%(lowers)s::bigint[], %(uppers)s::bigint[]) with ordinality as part(lower, upper, number)
cross join lateral (
    with ids as materialized (
        select distinct s.song_id from {songs} as s where s.song_id between part.lower and part.upper
    )
    select (select count(*) from ids) as songs, (
        select count(*) from (
            select song_id from ids
            intersect all
            select a.song_id from song_aboutness as a where a.song_id between part.lower and part.upper
        ) as with_row
    ) as with_row
) as counted
order by part.number
""")

_BETWEEN_COUNTS = sql.SQL("""
select count(*), count(found.row)
from (
    select distinct s.song_id from unnest(%(lowers)s::bigint[], %(uppers)s::bigint[]) as gap(lower, upper)
    join {songs} as s on s.song_id between gap.lower and gap.upper
) as s
left join lateral (
    select true as row from song_aboutness as a where a.song_id = s.song_id limit 1
) as found on true
""")

_COVERAGE = sql.SQL("""
select count(*), count(a.song_id)
from (select distinct s.song_id from {songs} as s where s.song_id is not null) as s
left join song_aboutness as a on a.song_id = s.song_id
""")

_FIRST_WITHOUT_ROW = sql.SQL("""
select distinct on (s.song_id) s.song_id, coalesce(s.title::text, ''), coalesce(s.artist::text, '')
from {songs} as s
where {chosen} and not exists (select from song_aboutness as a where a.song_id = s.song_id)
order by s.song_id, 2, 3 limit %(limit)s
""")


async def pages_without_row(
    pool: AsyncConnectionPool[AsyncConnection],
    songs_query: str,
    song_id_range: SongIdRange,
    page_size: int = PAGE_SIZE,
) -> AsyncIterator[list[Song]]:
    """The songs of a range that have no row, in the order of ids, in pages of 1 to ``page_size`` songs.

    Each page is one query by keyset cursor on a connection that is back in the pool before the page is handed
    out. A row that is written meanwhile for a song of a later page is seen.
    """
    async for page in _pages(pool, _PAGE, songs_query, song_id_range, page_size):
        if page:
            yield page


async def pages_of_songs(
    pool: AsyncConnectionPool[AsyncConnection],
    songs_query: str,
    song_id_range: SongIdRange,
    page_size: int = PAGE_SIZE,
) -> AsyncIterator[list[Song]]:
    """All songs of a range, as pages_without_row reads them; song_aboutness is not looked at."""
    async for page in _pages(pool, _SONGS_PAGE, songs_query, song_id_range, page_size):
        if page:
            yield page


async def _pages(
    pool: AsyncConnectionPool[AsyncConnection],
    statement: sql.SQL,
    songs_query: str,
    song_id_range: SongIdRange,
    page_size: int,
) -> AsyncIterator[list[Song]]:
    """The pages of a statement, each without the songs that it says have a row; some may be empty."""
    id_type = song_id_range.id_type
    after: SongId | None = None
    while True:
        condition, parameters = within_after(song_id_range, after)
        page = statement.format(songs=songs_subquery(songs_query), within=condition)
        rows = await _page(pool, page, parameters | {"limit": page_size})
        yield [
            _song(id_type, song_id, title, artist) for song_id, title, artist, has_row in rows if not has_row
        ]
        if len(rows) < page_size:
            return
        after = song_id_of(rows[-1][0], id_type)


async def _page(
    pool: AsyncConnectionPool[AsyncConnection], statement: sql.Composed, parameters: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    for _ in range(PAGE_ATTEMPTS - 1):
        with suppress(SerializationFailure):
            return await _page_once(pool, statement, parameters)
        await asyncio.sleep(SECONDS_BETWEEN_ATTEMPTS)
    return await _page_once(pool, statement, parameters)


async def _page_once(
    pool: AsyncConnectionPool[AsyncConnection], statement: sql.Composed, parameters: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        await keep_short(connection)
        return await (await read_songs(connection, statement, parameters)).fetchall()


async def songs_without_row(
    connection: AsyncConnection, songs_query: str, id_type: IdType, limit: int
) -> list[Song]:
    """The first ``limit`` songs without a row of the whole catalogue, in the order of ids."""
    chosen = sql.SQL("s.song_id is not null")
    statement = _FIRST_WITHOUT_ROW.format(songs=songs_subquery(songs_query), chosen=chosen)
    cursor = await read_songs(connection, statement, {"limit": limit})
    return [_song(id_type, *row) for row in await cursor.fetchall()]


async def chosen_without_row(
    connection: AsyncConnection, songs_query: str, id_type: IdType, song_ids: Sequence[str]
) -> list[Song]:
    """Those of the chosen songs (ids as text) that the catalogue holds and that have no row, in id order."""
    chosen = sql.SQL("s.song_id = any(%(song_ids)s::text[]::{}[])").format(CASTS[id_type])
    statement = _FIRST_WITHOUT_ROW.format(songs=songs_subquery(songs_query), chosen=chosen)
    cursor = await read_songs(connection, statement, {"limit": len(song_ids), "song_ids": list(song_ids)})
    return [_song(id_type, *row) for row in await cursor.fetchall()]


async def range_counts(
    connection: AsyncConnection, songs_query: str, song_id_range: SongIdRange
) -> tuple[int, int]:
    """How many songs a range has, and how many of them have a row; found by index."""
    condition, parameters = within_after(song_id_range, after=None)
    statement = _RANGE_COUNTS.format(songs=songs_subquery(songs_query), within=condition)
    return await _two_counts(connection, statement, parameters)


async def counts_of_each(
    connection: AsyncConnection, songs_query: str, song_id_ranges: Sequence[SongIdRange]
) -> list[tuple[int, int]]:
    """As range_counts, of each of some ranges of one catalogue; in one statement where ids are integers."""
    intervals = [(each.lower, each.upper) for each in song_id_ranges if each.id_type == "integer"]
    if len(intervals) != len(song_id_ranges):  # text and uuid ids have open ends
        return [await range_counts(connection, songs_query, each) for each in song_id_ranges]
    lowers, uppers = [lower for lower, _ in intervals], [upper for _, upper in intervals]
    statement = _COUNTS_OF_EACH.format(songs=songs_subquery(songs_query))
    cursor = await read_songs(connection, statement, {"lowers": lowers, "uppers": uppers})
    return [(songs, with_row) for songs, with_row in await cursor.fetchall()]


async def counts_between(
    connection: AsyncConnection, songs_query: str, intervals: Sequence[Interval]
) -> tuple[int, int]:
    """How many songs have an integer id in an interval, and how many of them have a row; found by index."""
    lowers, uppers = [lower for lower, _ in intervals], [upper for _, upper in intervals]
    statement = _BETWEEN_COUNTS.format(songs=songs_subquery(songs_query))
    return await _two_counts(connection, statement, {"lowers": lowers, "uppers": uppers})


async def coverage(connection: AsyncConnection, songs_query: str) -> tuple[int, int]:
    """How many songs the whole catalogue has, and how many of them have a row; reads all ids of both."""
    return await _two_counts(connection, _COVERAGE.format(songs=songs_subquery(songs_query)), {})


async def estimated_coverage(connection: AsyncConnection, songs_query: str) -> tuple[int, int]:
    """About how many songs and rows there are, as Postgres' planner estimates; reads neither table."""
    songs = await _planned_rows(connection, songs_subquery(songs_query))
    return songs, await _planned_rows(connection, sql.SQL("song_aboutness"))


async def _planned_rows(connection: AsyncConnection, relation: sql.Composable) -> int:
    statement = sql.SQL("explain (format json) select from {} as s").format(relation)
    row = await (await read_songs(connection, statement, {})).fetchone()
    assert row is not None
    return int(row[0][0]["Plan"]["Plan Rows"])


async def _two_counts(
    connection: AsyncConnection, statement: sql.Composed, parameters: Mapping[str, object]
) -> tuple[int, int]:
    row = await (await read_songs(connection, statement, parameters)).fetchone()
    assert row is not None
    return row[0], row[1]


def _song(id_type: IdType, song_id: object, title: str, artist: str) -> Song:
    return Song(song_id_of(song_id, id_type), title, artist)

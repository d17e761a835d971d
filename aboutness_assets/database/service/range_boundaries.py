"""Where the ranges of song_id are cut: which partition keys a catalogue still needs.

The arithmetic of ranges is domain/id_ranges.py's; here Postgres finds the ids that it is applied to.
"""

from collections.abc import Iterable

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.songs_query import id_type_of, read_songs, songs_subquery
from aboutness_assets.domain.id_ranges import (
    LARGEST_ID,
    USUAL_RANGE_SIZE,
    SongIdRange,
    check_string_ranges,
    covered_intervals,
    integer_ranges,
    range_size_for,
    string_ranges,
    uncovered_intervals,
    width_in_force,
)
from aboutness_assets.domain.songs import IdType

MOST_RANGES = 100
"""Ranges that a catalogue may always have, however few its songs."""

BOUNDARY_CHARACTERS = 64
"""Where a longer id becomes a boundary, it is cut to its first characters."""

BOUNDARY_BYTES = 400
"""A longer boundary is passed over, so that two of them, each byte escaped as three, fit the 2,704 bytes that
an index entry of Dagster's own Postgres storage may have."""

# Cells of both signs are numbered so that nothing overflows and that those of ten times the width nest:
# (song_id - 1) / width above zero, else song_id / width, both cut towards zero. They are made ten times as
# wide until there are at most 10 per range_size of songs, or MOST_RANGES; each gap but one may need a cell
# of its own on top of that.
_OCCUPIED_CELLS = sql.SQL("""
with recursive cells as materialized (
    select gap.lower as gap, s.song_id > 0 as positive,
           (s.song_id::bigint - (s.song_id > 0)::int) / %(width)s::bigint as cell,
           min(s.song_id)::bigint as song_id, count(*) as songs
    from unnest(%(lowers)s::bigint[], %(uppers)s::bigint[]) as gap(lower, upper)
    join {songs} as s on s.song_id between gap.lower and gap.upper
    group by 1, 2, 3
), factors(factor) as (
    select 1::bigint
    union all
    select factor * 10 from factors
    where (select count(*) from (select distinct gap, positive, cell / factor from cells) as wider_cells)
        > (select greatest(%(most_ranges)s::bigint, 10 * ceil(sum(songs) / %(width)s::bigint))
                  + count(distinct gap) - 1 from cells)
), chosen as (select max(factor) as factor from factors)
select factor, min(song_id) from cells, chosen group by factor, gap, positive, cell / factor
""")

# The first row is the first song of all. Cut or not, boundaries are strictly increasing, as each is greater
# than the whole id of the boundary before it.
_BOUNDARIES = sql.SQL("""
select case when cut > before and cut <= song_id then cut else song_id end
from (
    select song_id, left(song_id, %(characters)s) as cut, number,
           lag(song_id) over (order by number) as before
    from (
        select song_id::text as song_id, row_number() over (order by song_id) as number
        from (select distinct s.song_id from {songs} as s where s.song_id is not null) as ids
    ) as numbered
    where (number - 1) %% %(range_size)s::bigint = 0
) as boundaries
order by number
""")


async def new_ranges(
    connection: AsyncConnection, songs_query: str, existing_keys: Iterable[str], range_size: int | None
) -> list[str]:
    """The partition keys to add to ``existing_keys`` so that every song lies in a range, in the order of ids.

    ``range_size``, in songs, counts only when no key exists: then the whole catalogue is read, once. None: as
    range_size_for has it, for which the songs are counted first. Later
    only the integer ids that no range covers are read, by index; text and uuid ids are all covered.
    Raises FatalError as id_type_of, InvalidPartitionKey where existing keys overlap or leave ids out.
    """
    existing = list(existing_keys)
    id_type = await id_type_of(connection, songs_query)
    if range_size is None:
        range_size = USUAL_RANGE_SIZE if existing else range_size_for(await _songs(connection, songs_query))
    if id_type == "integer":
        ranges = await _new_integer_ranges(connection, songs_query, existing, range_size)
    elif existing:
        check_string_ranges(existing, id_type)
        ranges = []
    else:
        ranges = await _first_string_ranges(connection, songs_query, id_type, range_size)
    return [found.key for found in ranges]


async def _songs(connection: AsyncConnection, songs_query: str) -> int:
    statement = sql.SQL("select count(*) from {songs} as s")
    cursor = await read_songs(connection, statement.format(songs=songs_subquery(songs_query)), {})
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _new_integer_ranges(
    connection: AsyncConnection, songs_query: str, existing: list[str], range_size: int
) -> list[SongIdRange]:
    covered = covered_intervals(existing)
    uncovered = uncovered_intervals(covered)
    width = width_in_force(covered, range_size)
    cursor = await read_songs(
        connection,
        _OCCUPIED_CELLS.format(songs=songs_subquery(songs_query)),
        {
            "lowers": [start for start, _ in uncovered],
            "uppers": [end for _, end in uncovered],
            "width": min(width, LARGEST_ID),
            "most_ranges": MOST_RANGES,
        },
    )
    rows = await cursor.fetchall()
    factor = rows[0][0] if rows else 1
    return integer_ranges(uncovered, [song_id for _, song_id in rows], width * factor)


async def _first_string_ranges(
    connection: AsyncConnection, songs_query: str, id_type: IdType, range_size: int
) -> list[SongIdRange]:
    cursor = await read_songs(
        connection,
        _BOUNDARIES.format(songs=songs_subquery(songs_query)),
        {"range_size": range_size, "characters": BOUNDARY_CHARACTERS},
    )
    first_song, *boundaries = [row[0] for row in await cursor.fetchall()] or [None]
    if first_song is None:
        return []
    fitting = [boundary for boundary in boundaries if len(boundary.encode()) <= BOUNDARY_BYTES]
    return string_ranges(fitting, id_type)

"""Reads of the catalogue: which ids there are, and the songs that have no row of song_aboutness yet.

Every function takes ``songs_query``, the setting ABOUTNESS_SONGS_QUERY: a SELECT of song_id, title, artist,
only ever used as a subquery. Ids are compared and ordered by Postgres alone, as its columns do it.
"""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.id_ranges import (
    LARGEST_ID,
    SongIdRange,
    check_string_ranges,
    covered_intervals,
    integer_ranges,
    string_ranges,
    uncovered_intervals,
    width_in_force,
)
from aboutness_assets.domain.songs import IdType, Song, SongId

PAGE_SIZE = 1000  # songs read at once
MOST_RANGES = 100  # a catalogue may always have as many, however few its songs
BOUNDARY_CHARACTERS = 64  # a longer id is cut to its first characters where it becomes a boundary
# A longer boundary is passed over, so that two of them, escaped three for one, fit the 2,704 bytes that an
# index entry of Dagster's own Postgres storage may have.
BOUNDARY_BYTES = 400

_ID_TYPES: dict[str, IdType] = {
    **dict.fromkeys(("int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("text", "varchar", "bpchar"), "text"),
    "uuid": "uuid",
}
# Integer columns of every width compare with bigint by index.
_CASTS = {"integer": sql.SQL("bigint"), "text": sql.SQL("text"), "uuid": sql.SQL("uuid")}

_TOKEN = re.compile(
    r"""(?P<blank>\s+|;|--[^\n]*|/\*.*?\*/)|'(?:[^']|'')*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|.""",
    re.DOTALL,
)

# Cells of both signs are numbered so that nothing overflows and that those of ten times the width nest:
# (song_id - 1) / width above zero, else song_id / width, both cut towards zero. They are made ten times as
# wide until they number at most 10 for each range_size of songs, or MOST_RANGES; that each gap but one may
# need a cell of its own comes on top.
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
    where (select count(*) from (select distinct gap, positive, cell / factor from cells) as laid)
        > (select greatest(%(most_ranges)s::bigint, 10 * ceil(sum(songs) / %(width)s::bigint))
                  + count(distinct gap) - 1 from cells)
), chosen as (select max(factor) as factor from factors)
select factor, min(song_id) from cells, chosen group by factor, gap, positive, cell / factor
""")

# The first row is the first song of all. Cut or not, boundaries stay strictly increasing, as each is greater
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

# One song an id, whatever a join repeats. The inner limit keeps Postgres at one look into the primary key for
# each song: else it reads all of song_aboutness wherever it believes that table small, as it does while the
# table grows faster than its statistics.
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

_RANGE_COUNTS = sql.SQL("""
select count(*), count(found.row)
from (select distinct s.song_id from {songs} as s where {within}) as s
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
_ANY = sql.SQL("s.song_id is not null")


async def id_type_of(connection: AsyncConnection, songs_query: str) -> IdType:
    """The type of the ids that ``songs_query`` yields; reads no row.

    Raises FatalError where the query fails, lacks one of its three columns or has ids of another type.
    """
    statement = sql.SQL("select s.song_id, s.title, s.artist from {songs} as s limit 0")
    try:
        cursor = await connection.execute(statement.format(songs=_subquery(songs_query)), {})
    except psycopg.ProgrammingError as error:
        raise FatalError(
            f"The catalogue cannot be read, for Postgres says: {error.diag.message_primary or error}. Set "
            "ABOUTNESS_SONGS_QUERY to a SELECT that yields song_id, title and artist and that the role of "
            "DATABASE_URL may run."
        ) from error
    assert cursor.description is not None
    column = cursor.description[0]
    type_name = column.type_display
    id_type = _ID_TYPES.get(type_name.partition("(")[0])
    if id_type is None:
        raise FatalError(
            f"The songs' column song_id is of the type {type_name}, but must be integer, bigint, text or "
            "uuid: cast it in ABOUTNESS_SONGS_QUERY to the type that song_aboutness.song_id has."
        )
    return id_type


async def new_ranges(
    connection: AsyncConnection, songs_query: str, existing_keys: Iterable[str], range_size: int
) -> list[str]:
    """The partition keys to add to ``existing_keys`` so that every song lies in a range, in the order of ids.

    ``range_size``, in songs, counts only when no key exists: then the whole catalogue is read, once. Later
    only the integer ids that no range covers are, by index; text and uuid ids are all covered.
    Raises FatalError as id_type_of, InvalidPartitionKey where existing keys overlap or leave ids out.
    """
    existing = list(existing_keys)
    id_type = await id_type_of(connection, songs_query)
    if id_type == "integer":
        ranges = await _new_integer_ranges(connection, songs_query, existing, range_size)
    elif existing:
        check_string_ranges(existing, id_type)
        ranges = []
    else:
        ranges = await _first_string_ranges(connection, songs_query, id_type, range_size)
    return [found.key for found in ranges]


async def _new_integer_ranges(
    connection: AsyncConnection, songs_query: str, existing: list[str], range_size: int
) -> list[SongIdRange]:
    covered = covered_intervals(existing)
    uncovered = uncovered_intervals(covered)
    width = width_in_force(covered, range_size)
    cursor = await connection.execute(
        _OCCUPIED_CELLS.format(songs=_subquery(songs_query)),
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
    cursor = await connection.execute(
        _BOUNDARIES.format(songs=_subquery(songs_query)),
        {"range_size": range_size, "characters": BOUNDARY_CHARACTERS},
    )
    first_song, *boundaries = [row[0] for row in await cursor.fetchall()] or [None]
    if first_song is None:
        return []
    fitting = [boundary for boundary in boundaries if len(boundary.encode()) <= BOUNDARY_BYTES]
    return string_ranges(fitting, id_type)


async def pages_without_row(
    pool: AsyncConnectionPool[AsyncConnection],
    songs_query: str,
    song_id_range: SongIdRange,
    page_size: int = PAGE_SIZE,
) -> AsyncIterator[list[Song]]:
    """The songs of a range that have no row, in the order of ids, in pages of 1 to ``page_size`` songs.

    Each page is one query by keyset cursor on a connection that is back in the pool before the page is handed
    out. A row written meanwhile for a song of a later page is seen.
    """
    after: SongId | None = None
    while True:
        condition, parameters = _beyond(song_id_range, after)
        async with pool.connection() as connection:
            cursor = await connection.execute(
                _PAGE.format(songs=_subquery(songs_query), within=condition),
                parameters | {"limit": page_size},
            )
            rows = await cursor.fetchall()
        page = [_song(song_id, title, artist) for song_id, title, artist, has_row in rows if not has_row]
        if page:
            yield page
        if len(rows) < page_size:
            return
        after = _plain(rows[-1][0])


async def songs_without_row(connection: AsyncConnection, songs_query: str, limit: int) -> list[Song]:
    """The first ``limit`` songs without a row of the whole catalogue, in the order of ids."""
    statement = _FIRST_WITHOUT_ROW.format(songs=_subquery(songs_query), chosen=_ANY)
    cursor = await connection.execute(statement, {"limit": limit})
    return [_song(*row) for row in await cursor.fetchall()]


async def chosen_without_row(
    connection: AsyncConnection, songs_query: str, id_type: IdType, song_ids: Sequence[str]
) -> list[Song]:
    """Those of the chosen songs (ids as text) that the catalogue holds and that have no row, in id order."""
    chosen = sql.SQL("s.song_id = any(%(song_ids)s::text[]::{}[])").format(_CASTS[id_type])
    statement = _FIRST_WITHOUT_ROW.format(songs=_subquery(songs_query), chosen=chosen)
    cursor = await connection.execute(statement, {"limit": len(song_ids), "song_ids": list(song_ids)})
    return [_song(*row) for row in await cursor.fetchall()]


async def range_counts(
    connection: AsyncConnection, songs_query: str, song_id_range: SongIdRange
) -> tuple[int, int]:
    """How many songs a range has, and how many of them have a row."""
    condition, parameters = _beyond(song_id_range, after=None)
    statement = _RANGE_COUNTS.format(songs=_subquery(songs_query), within=condition)
    return await _two_counts(connection, statement, parameters)


async def coverage(connection: AsyncConnection, songs_query: str) -> tuple[int, int]:
    """How many songs the whole catalogue has, and how many of them have a row; reads all ids of both."""
    return await _two_counts(connection, _COVERAGE.format(songs=_subquery(songs_query)), {})


async def estimated_coverage(connection: AsyncConnection, songs_query: str) -> tuple[int, int]:
    """About how many songs and rows there are, as Postgres plans with; reads neither table."""
    songs = await _planned_rows(connection, _subquery(songs_query))
    return songs, await _planned_rows(connection, sql.SQL("song_aboutness"))


async def _planned_rows(connection: AsyncConnection, relation: sql.Composable) -> int:
    statement = sql.SQL("explain (format json) select from {} as s").format(relation)
    row = await (await connection.execute(statement, {})).fetchone()
    assert row is not None
    return int(row[0][0]["Plan"]["Plan Rows"])


async def _two_counts(
    connection: AsyncConnection, statement: sql.Composed, parameters: dict[str, SongId]
) -> tuple[int, int]:
    row = await (await connection.execute(statement, parameters)).fetchone()
    assert row is not None
    return row[0], row[1]


def _song(song_id: object, title: str, artist: str) -> Song:
    return Song(_plain(song_id), title, artist)


def _plain(song_id: object) -> SongId:
    return song_id if isinstance(song_id, int) else str(song_id)


def within(song_id_ranges: Sequence[SongIdRange]) -> sql.Composed:
    """The condition that ``song_id`` lies in one of the ranges, for a query without parameters."""
    conditions = []
    for song_id_range in song_id_ranges:
        ends = [(comparison, sql.Literal(bound)) for comparison, bound in _ends(song_id_range)]
        conditions.append(_condition("song_id", song_id_range.id_type, ends))
    return sql.SQL("({})").format(sql.SQL(" or ").join(conditions))


def _beyond(song_id_range: SongIdRange, after: SongId | None) -> tuple[sql.Composed, dict[str, SongId]]:
    """The condition that ``s.song_id`` lies in the range, beyond ``after`` if given, and its parameters."""
    ends = _ends(song_id_range, after)
    placeholders = [(comparison, sql.Placeholder(f"end_{n}")) for n, (comparison, _) in enumerate(ends)]
    parameters = {f"end_{n}": bound for n, (_, bound) in enumerate(ends)}
    return _condition("s.song_id", song_id_range.id_type, placeholders), parameters


def _ends(song_id_range: SongIdRange, after: SongId | None = None) -> list[tuple[LiteralString, SongId]]:
    """What ``song_id`` has to be compared with; an open end is left out."""
    ends: list[tuple[LiteralString, SongId | None]] = [
        (">=", song_id_range.lower) if after is None else (">", after),
        ("<=" if song_id_range.id_type == "integer" else "<", song_id_range.upper),
    ]
    return [(comparison, bound) for comparison, bound in ends if bound is not None]


def _condition(
    column: LiteralString, id_type: IdType, ends: Sequence[tuple[LiteralString, sql.Composable]]
) -> sql.Composed:
    # A range without ends must not meet the ids that an outer join left null.
    conditions = [sql.SQL("{} is not null").format(sql.SQL(column))]
    for comparison, bound in ends:
        compared = sql.SQL("{} {} {}::{}")
        conditions.append(compared.format(sql.SQL(column), sql.SQL(comparison), bound, _CASTS[id_type]))
    return sql.SQL(" and ").join(conditions)


def _subquery(songs_query: str) -> sql.Composable:
    """The query in parentheses, without semicolons and comments at its end, ready to run with parameters."""
    end = max((token.end() for token in _TOKEN.finditer(songs_query) if token["blank"] is None), default=0)
    return sql.SQL("({})").format(sql.SQL(songs_query[:end].replace("%", "%%")))

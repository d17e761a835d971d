"""How many rows song_aboutness and the catalogue have, and their columns' types as Postgres names them."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.catalogue import estimated_coverage
from aboutness_assets.database.service.songs_query import read_songs, songs_subquery

COUNTED_BELOW_ROWS = 1_000_000
"""Up to about so many songs and rows both are counted after every run; 114,000 take a tenth of a second."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column as it is, with its type as Postgres writes it, such as vector(1536)."""

    name: str
    type_name: str
    is_nullable: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as it is; rows: counted."""

    rows: int
    columns: tuple[ColumnFacts, ...]


@dataclass(frozen=True, slots=True)
class ServiceTables:
    """Both tables of the service."""

    songs: TableFacts
    song_aboutness: TableFacts


async def read_service_tables(
    connection: AsyncConnection, songs_query: str, *, even_if_large: bool
) -> ServiceTables | None:
    """Count both tables and read their columns; None where they are large, unless ``even_if_large``.

    songs_query: ABOUTNESS_SONGS_QUERY; of its columns only the id is known to be there for every song.
    """
    if not even_if_large and max(await estimated_coverage(connection, songs_query)) > COUNTED_BELOW_ROWS:
        return None
    return ServiceTables(await _songs(connection, songs_query), await _song_aboutness(connection))


async def _songs(connection: AsyncConnection, songs_query: str) -> TableFacts:
    songs = songs_subquery(songs_query)
    statement = sql.SQL("select count(distinct s.song_id) from {songs} as s")
    row = await (await read_songs(connection, statement.format(songs=songs), {})).fetchone()
    assert row is not None
    cursor = await read_songs(
        connection,
        sql.SQL("select s.song_id, s.title, s.artist from {songs} as s limit 0").format(songs=songs),
        {},
    )
    assert cursor.description is not None
    columns = tuple(
        [
            ColumnFacts(column.name, await _type_name(connection, column.type_code), column.name != "song_id")
            for column in cursor.description
        ]
    )
    return TableFacts(int(row[0]), columns)


async def _type_name(connection: AsyncConnection, oid: int) -> str:
    row = await (await connection.execute("select format_type(%s::oid, null)", [oid])).fetchone()
    return "" if row is None else str(row[0])


async def aboutness_columns(connection: AsyncConnection) -> tuple[ColumnFacts, ...]:
    """The columns of song_aboutness in their order, those that this project does not know as well."""
    cursor = await connection.execute(
        "select attname, format_type(atttypid, atttypmod), not attnotnull from pg_attribute"
        " where attrelid = to_regclass('song_aboutness') and attnum > 0 and not attisdropped order by attnum"
    )
    return tuple([ColumnFacts(*found) for found in await cursor.fetchall()])


async def _song_aboutness(connection: AsyncConnection) -> TableFacts:
    row = await (await connection.execute("select count(*) from song_aboutness")).fetchone()
    assert row is not None
    return TableFacts(int(row[0]), await aboutness_columns(connection))

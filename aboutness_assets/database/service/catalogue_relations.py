"""The tables that ABOUTNESS_SONGS_QUERY reads, those behind its views too."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.songs_query import read_songs, songs_subquery


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view: its oid, and its name as a person would write it."""

    oid: int
    name: str


async def catalogue_relations(connection: AsyncConnection, songs_query: str) -> list[Relation]:
    """The tables and views behind the songs, without reading a row; those inside of functions are not seen.

    To be called at the start of a transaction: they are what planning the query locks. A plan itself does not
    name a table of which row-level security hides everything.
    """
    explain = sql.SQL("explain select * from {songs} as s").format(songs=songs_subquery(songs_query))
    await read_songs(connection, explain, {})
    cursor = await connection.execute(
        "select c.oid, c.oid::regclass::text from pg_locks l join pg_class c on c.oid = l.relation"
        " where l.pid = pg_backend_pid() and l.locktype = 'relation'"
        " and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition"
        " and c.relnamespace <> 'pg_catalog'::regnamespace order by 2"
    )
    return [Relation(oid, name) for oid, name in await cursor.fetchall()]

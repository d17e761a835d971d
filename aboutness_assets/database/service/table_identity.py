"""What song_aboutness is called in our own records, so that each record belongs to one table."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """The names of one song_aboutness.

    table_id: ``database.schema.song_aboutness@cluster``. It survives a dump and restore within a cluster and
    tells two clusters apart. cluster is Postgres' system identifier, which standbys and base backups share;
    where the role may not read it, ``host:port`` as DATABASE_URL has them. former_id: what earlier versions
    used, with the table's oid.
    """

    table_id: str
    former_id: str


async def read_identity(connection: AsyncConnection) -> TableIdentity | None:
    """The identity of the table that an INSERT would find; None where there is none."""
    cursor = await connection.execute(
        "select current_database() || '.' || n.nspname || '.song_aboutness', c.oid,"
        " coalesce(has_function_privilege(to_regprocedure('pg_catalog.pg_control_system()')::oid, 'EXECUTE'),"
        "  false)"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid = to_regclass('song_aboutness')"
    )
    found = await cursor.fetchone()
    if found is None:
        return None
    name, oid, may_read_system_identifier = found
    cluster = f"{connection.info.host}:{connection.info.port}"
    if may_read_system_identifier:
        cursor = await connection.execute("select system_identifier from pg_catalog.pg_control_system()")
        [cluster] = await cursor.fetchone() or [cluster]
    return TableIdentity(f"{name}@{cluster}", f"{name}#{oid}")

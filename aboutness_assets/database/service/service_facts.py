"""What the service's server, role and columns are: the findings that need no INSERT."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.catalogue_relations import Relation
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.database.service.insert_refusals import READ_ONLY
from aboutness_assets.database.service.songs_query import read_songs, songs_subquery
from aboutness_assets.domain.findings import Finding

_NOT_NEEDED = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")

TRANSACTIONS = 3
"""Transactions that look for a pooler."""


async def server_findings(connection: AsyncConnection) -> list[Finding]:
    """Whether the server takes writes, and in which encoding."""
    cursor = await connection.execute(
        "select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',"
        " current_setting('server_encoding'), current_setting('client_encoding')"
    )
    row = await cursor.fetchone()
    assert row is not None
    in_recovery, is_read_only, server_encoding, client_encoding = row
    if in_recovery:
        writes = Finding("server", "is a standby, which takes no rows", "fail", READ_ONLY)
    elif is_read_only:
        writes = Finding("server", "transactions of this role are read-only", "fail", READ_ONLY)
    else:
        writes = Finding("server", "is a primary and takes writes")
    return [writes, _encoding(server_encoding, client_encoding)]


def _encoding(server: str, client: str) -> Finding:
    found = f"server {server}, client {client}"
    if server == "UTF8":
        return Finding("encoding", found)
    if server == "SQL_ASCII":
        return Finding(
            "encoding",
            f"{found}: the server knows bytes, not characters, and titles may be in any encoding",
            "warn",
            "char_length counts bytes there, so a text may count as longer than 100: use a database in UTF8.",
        )
    return Finding(
        "encoding",
        f"{found}: the server cannot hold every character",
        "warn",
        "A song whose text has a character that the server lacks fails; a database in UTF8 holds them all.",
    )


async def rights_finding(connection: AsyncConnection, relations: Sequence[Relation]) -> Finding:
    """Whether the role may more than read the songs, and read and insert rows of song_aboutness."""
    cursor = await connection.execute(
        "select current_user::text, rolsuper from pg_roles where rolname = current_user"
    )
    row = await cursor.fetchone()
    assert row is not None
    role, is_superuser = row
    more = ["is a superuser"] if is_superuser else await _more_rights(connection, relations)
    if not more:
        return Finding("rights", f"the role {role} may read both and insert rows, and nothing more")
    return Finding(
        "rights",
        f"the role {role} {'; '.join(more)}",
        "warn",
        "Less would do: SELECT on the tables of the songs, SELECT and INSERT on song_aboutness "
        "(docs/operating.md).",
    )


async def _more_rights(connection: AsyncConnection, relations: Sequence[Relation]) -> list[str]:
    cursor = await connection.execute(
        "select c.oid::regclass::text, pg_has_role(c.relowner, 'USAGE'), array("
        " select privilege from unnest(%s::text[]) as privilege"
        " where has_table_privilege(c.oid, privilege)"
        " and not (c.oid = to_regclass('song_aboutness') and privilege = 'INSERT'))"
        " from pg_class c where c.oid = any(%s::oid[]) or c.oid = to_regclass('song_aboutness') order by 1",
        [list(_NOT_NEEDED), [relation.oid for relation in relations]],
    )
    return [
        f"owns {table}" if is_owner else f"has {', '.join(privileges)} on {table}"
        for table, is_owner, privileges in await cursor.fetchall()
        if is_owner or privileges
    ]


async def collation_findings(
    connection: AsyncConnection, table: AboutnessTable, songs_query: str
) -> list[Finding]:
    """Whether text ids are compared by one collation in both tables; nothing for ids of other types."""
    if table.id_type != "text":
        return []
    statement = sql.SQL(
        "select collation for (s.song_id), collation for (a.song_id) from (values (1)) as one(row)"
        " left join {songs} as s on false left join song_aboutness as a on false"
    ).format(songs=songs_subquery(songs_query))
    row = await (await read_songs(connection, statement, {})).fetchone()
    assert row is not None
    of_songs, of_rows = row
    cursor = await connection.execute(
        "select c.collisdeterministic from pg_attribute a join pg_collation c on c.oid = a.attcollation"
        " where a.attrelid = to_regclass('song_aboutness') and a.attname = 'song_id'"
    )
    deterministic = await cursor.fetchone()
    findings = []
    if of_songs == of_rows:
        findings.append(Finding("collation of song_id", f"{of_rows} in both tables"))
    else:
        is_conflict = '"default"' not in (of_songs, of_rows)
        findings.append(
            Finding(
                "collation of song_id",
                f"{of_songs} for the songs, {of_rows} in song_aboutness"
                + ("" if is_conflict else ": an index may not be used where both are compared"),
                "fail" if is_conflict else "warn",
                f"Write song_id collate {of_rows} as song_id in ABOUTNESS_SONGS_QUERY.",
            )
        )
    if deterministic is not None and not deterministic[0]:
        findings.append(
            Finding(
                "collation of song_id",
                f"{of_rows} takes different ids for equal (as letters in another case)",
                "warn",
                "Of two such songs only one can have a row; a deterministic collation tells them apart.",
            )
        )
    return findings


async def pooler_finding(pool: ServicePool) -> Finding:
    """Whether something stands between the role and the server, as pg_backend_pid() shows it."""
    named, met = set[int](), set[int]()
    for _ in range(TRANSACTIONS):
        async with pool.connection() as connection:
            row = await (await connection.execute("select pg_backend_pid()")).fetchone()
            assert row is not None
            named.add(connection.info.backend_pid)
            met.add(row[0])
    if met <= named:
        return Finding("pooler", "none: every transaction met the server process of its own connection")
    return Finding(
        "pooler",
        "a pooler stands before the server"
        + (" and gives a transaction any server process" if len(met) > len(named) else ""),
        "info",
        "Nothing need be done: runs rely on no session and prepare no statement there.",
    )

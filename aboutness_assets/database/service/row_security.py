"""Row-level security: whether Postgres may hide rows from the role, which no query can see by itself."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from aboutness_assets.database.service.catalogue_relations import Relation
from aboutness_assets.domain.findings import Finding

# A table that the role may not read itself is read through a view, by the rights of the view's owner.
_HIDING = """
select c.oid::regclass::text, array(
    select p.polname::text from pg_policy p where p.polrelid = c.oid and p.polcmd in ('r', '*') order by 1
)
from pg_class c
where c.oid = any(%s::oid[]) and row_security_active(c.oid) and has_any_column_privilege(c.oid, 'SELECT')
and (
    not exists (
        select from pg_policy p
        where p.polrelid = c.oid and p.polcmd in ('r', '*') and p.polpermissive
        and (p.polqual is null or pg_get_expr(p.polqual, p.polrelid) = 'true')
        and (0::oid = any(p.polroles) or exists (
            select from unnest(p.polroles) as r(oid) where r.oid <> 0 and pg_has_role(r.oid, 'USAGE')
        ))
    )
    or exists (
        select from pg_policy p where p.polrelid = c.oid and p.polcmd in ('r', '*') and not p.polpermissive
    )
)
order by 1
"""


async def row_security_findings(connection: AsyncConnection, relations: Sequence[Relation]) -> list[Finding]:
    """Whether the role sees every row of the catalogue's tables and of song_aboutness.

    A policy that is not plainly ``true`` fails: what it hides cannot be counted, so an empty or partial
    catalogue would look complete, and songs whose rows are hidden would be paid for again.
    """
    row = await (await connection.execute("select to_regclass('song_aboutness')::oid")).fetchone()
    assert row is not None
    cursor = await connection.execute(_HIDING, [[*(relation.oid for relation in relations), row[0]]])
    hiding = await cursor.fetchall()
    if not hiding:
        return [Finding("row-level security", "hides no row of these tables from the role")]
    return [
        Finding(
            "row-level security",
            f"is in force for the role on {table}, "
            + (
                f"and its policies for reading ({', '.join(policies)}) may hide rows"
                if policies
                else "which has no policy for reading: every row is hidden"
            )
            + "; hidden rows cannot be counted",
            "fail",
            f"Give the role a policy on {table} for select using (true), or the attribute bypassrls, or, for "
            "songs, name a view of the table's owner in ABOUTNESS_SONGS_QUERY.",
        )
        for table, policies in hiding
    ]

"""What an INSERT into song_aboutness sets off beside the row: triggers, rules, sequences."""

from typing import Any, LiteralString

from psycopg import AsyncConnection

from aboutness_assets.domain.findings import Finding

_TRIGGERS = """
select t.tgname::text, t.tgtype & 3 = 3 or t.tgtype & 64 = 64 as may_drop
from pg_trigger t
where t.tgrelid = to_regclass('song_aboutness') and not t.tgisinternal and t.tgenabled in ('O', 'A')
and t.tgtype & 4 = 4
order by 1
"""

_RULES = """
select rulename::text from pg_rewrite
where ev_class = to_regclass('song_aboutness') and ev_type = '3' order by 1
"""

_SEQUENCES = """
select a.attname::text
from pg_attribute a
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = to_regclass('song_aboutness') and a.attnum > 0 and not a.attisdropped
and (a.attidentity <> '' or pg_get_expr(d.adbin, d.adrelid) like '%nextval(%')
and a.attname <> 'song_id'
order by 1
"""


async def side_effects(connection: AsyncConnection) -> list[Finding]:
    """What a rolled-back INSERT may leave behind."""
    triggers = [name for name, _ in await _rows(connection, _TRIGGERS)]
    sequences = [name for (name,) in await _rows(connection, _SEQUENCES)]
    findings = []
    if triggers:
        findings.append(
            Finding(
                "triggers",
                f"{', '.join(triggers)} ran for the rows that were tried; what they did in this database is "
                "rolled back, what they may do outside of it (dblink, HTTP, files) is not",
                "info",
            )
        )
    if sequences:
        findings.append(
            Finding(
                "sequences",
                f"those of {', '.join(sequences)} were advanced by a few numbers, which a rollback does not "
                "take back",
                "info",
            )
        )
    return findings


async def blocking_suspects(connection: AsyncConnection) -> str:
    """What may keep a row out, or hide it, without an error: by name, '' where nothing is known."""
    dropping = [name for name, may_drop in await _rows(connection, _TRIGGERS) if may_drop]
    rules = [name for (name,) in await _rows(connection, _RULES)]
    ((hides,),) = await _rows(connection, "select row_security_active(to_regclass('song_aboutness')::oid)")
    suspects = []
    if dropping:
        suspects.append(f"triggers that may drop or change it: {', '.join(dropping)}")
    if rules:
        suspects.append(f"rules: {', '.join(rules)}")
    if hides:
        suspects.append("row-level security is in force for the role and may hide it")
    return "; ".join(suspects)


async def _rows(connection: AsyncConnection, query: LiteralString) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query)).fetchall()

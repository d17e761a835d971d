"""The ids of the service's tables in our own records: earlier ones are renamed, namesakes are found."""

from __future__ import annotations

from psycopg import AsyncConnection

from aboutness_assets.database.operations.connection import Operations

_IS_KNOWN = (
    "select exists (select from aboutness_ops.budget where table_id = %(table_id)s)"
    " or exists (select from aboutness_ops.failed_song where table_id = %(table_id)s)"
    " or exists (select from aboutness_ops.old_style_baseline where table_id = %(table_id)s)"
)
"""Every request is in a budget, so these three know of every id."""


async def adopt_former_id(operations: Operations, former_id: str, table_id: str) -> bool:
    """Give records of a table under its former id the id of today; whether there were any.

    The first run that sees the table does it; others wait for it.
    """

    async def adopt(connection: AsyncConnection) -> bool:
        cursor = await connection.execute(_IS_KNOWN, {"table_id": former_id})
        if await cursor.fetchone() != (True,):
            return False
        await connection.execute("select aboutness_ops.rename_table(%s, %s)", [former_id, table_id])
        return True

    return await operations.transact(adopt)


async def namesakes(operations: Operations, table_id: str) -> list[str]:
    """Tables of the same name on other clusters, where nothing was asked for this one yet."""

    async def select(connection: AsyncConnection) -> list[str]:
        cursor = await connection.execute(
            "select distinct table_id from aboutness_ops.budget"
            " where (starts_with(table_id, %(name)s || '@') or starts_with(table_id, %(name)s || '#'))"
            " and not exists (select from aboutness_ops.budget where table_id = %(table_id)s) order by 1",
            {"name": table_id.rpartition("@")[0], "table_id": table_id},
        )
        return [found for (found,) in await cursor.fetchall()]

    return await operations.query(select)

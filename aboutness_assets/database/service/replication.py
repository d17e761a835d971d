"""How far the service's standbys are behind, where the role may see it."""

from __future__ import annotations

import psycopg

from aboutness_assets.database.service.connection import ServicePool


async def replication_lag(pool: ServicePool) -> float | None:
    """Seconds between a commit and its being seen on the standby that is furthest behind.

    None where there is no standby, or where the role may not see them (it takes pg_monitor), or cannot be
    asked now.
    """
    try:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "select max(extract(epoch from replay_lag))::float from pg_stat_replication"
            )
            row = await cursor.fetchone()
    except psycopg.Error:  # a figure to be careful by: what is wrong, the next INSERT says
        return None
    return None if row is None else row[0]

"""The schema aboutness_ops of our own Postgres: creates it and brings it up to date.

A migration is a file ``migrations/NNNN_what_it_does.sql``. Each is applied once, in the order of the numbers,
under a lock, so that runs that start at the same time do not collide. A released migration never changes.
"""

import re
from importlib.resources import files

from psycopg import AsyncConnection

from aboutness_assets.domain.errors import FatalError

_LOCK_NAME = "aboutness_ops schema"
_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql", re.ASCII)


def read_migrations() -> dict[int, bytes]:
    """The statements of every migration by its number, in the order in which they are applied."""
    directory = files("aboutness_assets.database.operations") / "migrations"
    names = sorted(path.name for path in directory.iterdir() if _FILE_NAME.fullmatch(path.name))
    return {int(name[:4]): (directory / name).read_bytes() for name in names}


async def migrate(connection: AsyncConnection) -> None:
    """Apply the migrations that this database does not have yet; the connection must be in autocommit mode.

    Raises FatalError where the schema is newer than this code.
    """
    migrations = read_migrations()
    latest = max(migrations)
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK_NAME])
        current = await _schema_version(connection)
        if current > latest:
            raise FatalError(
                f"The schema aboutness_ops in our own Postgres (DAGSTER_PG_URL) has version {current}, but "
                f"this installation knows versions up to {latest}: a newer one has been at work there. "
                "Nothing was asked or written. Update this installation, or set another DAGSTER_PG_URL."
            )
        for version in range(current + 1, latest + 1):
            await connection.execute(migrations[version])
        if current < latest:
            await connection.execute("update aboutness_ops.schema_version set version = %s", [latest])


async def _schema_version(connection: AsyncConnection) -> int:
    """The number of the last migration that was applied; 0 before the first."""
    cursor = await connection.execute("select to_regclass('aboutness_ops.schema_version')::text")
    if await cursor.fetchone() in (None, (None,)):
        return 0
    cursor = await connection.execute("select version from aboutness_ops.schema_version")
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])

"""The schema aboutness_ops of our own Postgres: creates it and brings it up to date.

A migration is a file ``migrations/NNNN_what_it_does.sql``. Each is applied once, in the order of the numbers,
under a lock, so that runs that start at the same time do not collide. A released migration never changes.

Code of an older version works on a newer schema as long as the schema says so (0016_compatible_code.sql), so
that old runs may go on while an installation is upgraded.
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

    A newer schema that this code may work on stays as it is.
    Raises FatalError where the schema is newer and this code cannot work on it.
    """
    migrations = read_migrations()
    latest = max(migrations)
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK_NAME])
        current = await schema_version(connection)
        for version in range(current + 1, latest + 1):
            await connection.execute(migrations[version])
        if current < latest:
            await connection.execute("update aboutness_ops.schema_version set version = %s", [latest])


async def schema_version(connection: AsyncConnection) -> int:
    """The number of the last migration that was applied; 0 before the first. Nothing is changed.

    Raises FatalError where the schema is newer than this code, which cannot work on it.
    """
    current, latest = await _applied(connection), max(read_migrations())
    if current > latest and await _compatible_since(connection) > latest:
        raise FatalError(
            f"The schema aboutness_ops in our own Postgres (DAGSTER_PG_URL) has version {current}, but "
            f"this installation knows versions up to {latest} and cannot work on it: a newer one has been "
            "at work there. Nothing was asked or written. Update this installation, or set another "
            "DAGSTER_PG_URL."
        )
    return current


async def _compatible_since(connection: AsyncConnection) -> int:
    """The oldest version whose code works on this schema, which is one of 16 or later."""
    cursor = await connection.execute("select compatible_since from aboutness_ops.schema_version")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _applied(connection: AsyncConnection) -> int:
    cursor = await connection.execute("select to_regclass('aboutness_ops.schema_version')::text")
    if await cursor.fetchone() in (None, (None,)):
        return 0
    cursor = await connection.execute("select version from aboutness_ops.schema_version")
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])

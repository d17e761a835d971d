"""Our own schema aboutness_ops: laying it, and the lock that keeps two runs off one range."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.service import first_line
from aboutness_assets.database.service_url import operations_conninfo
from aboutness_assets.errors import GlobalFault

POOL_SIZE = 8
"""Connections to our own Postgres in one process; a journal entry holds one for about a millisecond."""

_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, seconds and probes: no firewall takes the lock's connection for dead, and its loss is noticed."""

_SCHEMA_LOCK = "aboutness_ops schema"


@asynccontextmanager
async def open_operations(url: str) -> AsyncIterator[AsyncConnectionPool]:
    """A pool of autocommit connections to our own Postgres, its schema laid.

    Raises SettingsError when DAGSTER_PG_URL is no Postgres URL, GlobalFault when nobody answers there.
    """
    conninfo = operations_conninfo(url)
    try:
        async with await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=10
        ) as first:
            await _lay_schema(first)
    except psycopg.OperationalError as unreachable:
        raise GlobalFault(
            f"Our own Postgres (DAGSTER_PG_URL) cannot be used: {first_line(unreachable)}. "
            "Nothing was asked or written; start it, or set the URL of one that runs."
        ) from None
    pool = AsyncConnectionPool(
        conninfo,
        min_size=1,
        max_size=POOL_SIZE,
        open=False,
        kwargs={"autocommit": True},
        timeout=60,
        check=AsyncConnectionPool.check_connection,  # what a restart or a cut left broken is replaced
    )
    async with pool:
        yield pool


@asynccontextmanager
async def exclusive_range(
    url: str, service: str, range_key: str | None, log: logging.Logger
) -> AsyncIterator[None]:
    """Hold a range for this run alone (range_key None: the whole table), waiting while another run holds it.

    The lock is a session lock on a connection of its own, so the death of the process gives it back. When
    that connection is lost another run may take the range: then the body is cancelled, as if by a person,
    and GlobalFault is raised.
    """
    conninfo = make_conninfo(operations_conninfo(url), **_KEEPALIVES)
    table = f"{service} table"
    fault: BaseException
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        if range_key is None:
            await _lock(connection, table, shared=False, log=log)
        else:
            await _lock(connection, table, shared=True, log=log)
            await _lock(connection, f"{service} range {range_key}", shared=False, log=log)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_raise_when_lost(connection))
                yield
                watch.cancel()
            return
        except BaseExceptionGroup as faults:
            fault = faults.exceptions[0]
        raise fault


async def _raise_when_lost(connection: psycopg.AsyncConnection) -> None:
    try:
        async for _ in connection.notifies():  # there are none; but the end of the connection is seen at once
            pass
    except psycopg.OperationalError as lost:
        raise GlobalFault(
            f"The lock on the range was lost with its connection to our own Postgres: {first_line(lost)}. "
            "As another run could take the range now, this one stops. "
            "What was written stays and what was paid for is kept; run it again."
        ) from None


async def _lock(connection: psycopg.AsyncConnection, name: str, *, shared: bool, log: logging.Logger) -> None:
    kind = "_shared" if shared else ""
    cursor = await connection.execute(
        f"select pg_try_advisory_lock{kind}(hashtextextended(%s, 0))",
        [name],
    )
    row = await cursor.fetchone()
    if row is not None and row[0]:
        return
    log.info("Another run is at work on %s: waiting until it is done, so that nothing is paid twice.", name)
    await connection.execute(f"select pg_advisory_lock{kind}(hashtextextended(%s, 0))", [name])


async def _lay_schema(connection: psycopg.AsyncConnection) -> None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [_SCHEMA_LOCK])
        cursor = await connection.execute("select to_regclass('aboutness_ops.schema_version') is not null")
        row = await cursor.fetchone()
        if row is not None and not row[0]:
            statements = files("aboutness_assets.database").joinpath("operations.sql").read_text("utf-8")
            await connection.execute(statements.encode())

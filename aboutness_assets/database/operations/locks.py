"""Locks on ranges: no two runs work on one range at the same time, on whichever hosts they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo

from aboutness_assets.database.postgres_errors import database_errors_as_sentences, postgres_message
from aboutness_assets.domain.errors import FatalError

_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, seconds and probes: no firewall drops the lock's connection as idle, and its loss is noticed."""


@asynccontextmanager
async def exclusive_ranges(
    conninfo: str, table_id: str, range_keys: Sequence[str] | None, log: logging.Logger
) -> AsyncIterator[None]:
    """Hold ranges for this run alone (None: the whole table); waits while another run holds one of them.

    conninfo: of our own Postgres, as ``operations_conninfo`` returns it. The locks are session locks on a
    connection of their own, so they end with the process. When that connection is lost another run may take
    the ranges: then the body is cancelled and FatalError is raised.
    """
    conninfo = make_conninfo(conninfo, **_KEEPALIVES)
    fault: BaseException
    with database_errors_as_sentences(
        "Our own Postgres (DAGSTER_PG_URL) cannot be used",
        "Nothing was asked or written; start it, or set the URL of one that runs.",
    ):
        opened = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    async with opened as connection:
        await _lock(connection, f"{table_id} table", shared=range_keys is not None, log=log)
        # All runs take their ranges in the same order, so no two can wait for each other.
        for range_key in sorted(set(range_keys or ())):
            await _lock(connection, f"{table_id} range {range_key}", shared=False, log=log)
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
        async for _ in connection.notifies():  # no notification ever comes, but the connection's end is seen
            pass
    except psycopg.OperationalError as lost:
        raise FatalError(
            "The lock on the ranges was lost with its connection to our own Postgres (DAGSTER_PG_URL): "
            f"{postgres_message(lost)}. As another run could take the ranges now, this one stops. "
            "What was written and what was paid for is kept; run it again."
        ) from lost


async def _lock(connection: psycopg.AsyncConnection, name: str, *, shared: bool, log: logging.Logger) -> None:
    kind = "_shared" if shared else ""
    cursor = await connection.execute(f"select pg_try_advisory_lock{kind}(hashtextextended(%s, 0))", [name])
    if await cursor.fetchone() == (True,):
        return
    log.info(
        "Another run is working on %s: waiting until it is done, so that nothing is paid for twice.",
        name,
    )
    await connection.execute(f"select pg_advisory_lock{kind}(hashtextextended(%s, 0))", [name])


HoldIdle: TypeAlias = Callable[[Collection[str]], Awaitable[set[str]]]
"""Holds those of some ranges that no run holds, and says which they are; '' is the table, where no run holds
all of it."""


@asynccontextmanager
async def checks_alone(conninfo: str, table_id: str) -> AsyncIterator[HoldIdle]:
    """Let one process at a time evaluate the checks of a table; others wait.

    What is held ends with the block or the process, so that a run that wants it waits no longer than that.
    """
    async with await psycopg.AsyncConnection.connect(
        make_conninfo(conninfo, **_KEEPALIVES), autocommit=True
    ) as connection:

        async def hold_idle(range_keys: Collection[str]) -> set[str]:
            cursor = await connection.execute(
                "select key from unnest(%s::text[]) as key where case when key = ''"
                " then pg_try_advisory_lock_shared(hashtextextended(%s || ' table', 0))"
                " else pg_try_advisory_lock(hashtextextended(%s || ' range ' || key, 0)) end",
                [list(range_keys), table_id, table_id],
            )
            return {key for (key,) in await cursor.fetchall()}

        await connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [f"{table_id} checks"])
        yield hold_idle

"""Our own Postgres: its schema aboutness_ops, transactions that outlast its absence, and locks on ranges."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.url import operations_conninfo
from aboutness_assets.domain.errors import FatalError

T = TypeVar("T")

Work: TypeAlias = Callable[[AsyncConnection, bool], Awaitable[T]]
"""What is done in one transaction. It is told whether it is tried again: what broke at its very end may have
been committed."""

POOL_SIZE = 8
"""Connections to our own Postgres in one process; a transaction holds one for a few milliseconds."""

RETRY_SECONDS = 60.0
"""How long a transaction is tried while our own Postgres is away; paid answers wait in memory meanwhile."""

FIRST_RETRY_SECONDS = 0.1
"""Wait before the second try; doubled each time."""

_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, seconds and probes: no firewall takes the lock's connection for dead, and its loss is noticed."""

_SCHEMA_LOCK = "aboutness_ops schema"
_MIGRATIONS = (
    "0001_journal_failed_songs_old_style",
    "0002_shared_rate_limits",
    "0003_standard_terms",
    "0004_rate_limit_functions",
)
"""Files of migrations/, applied in this order, each once."""

_SCHEMA_VERSION = len(_MIGRATIONS)


class OperationsAway(FatalError):
    """Our own Postgres stays away."""


class Operations:
    """Our own Postgres, open and with its schema laid."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection]) -> None:
        self._pool = pool
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._committing: asyncio.Task[None] | None = None

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """An autocommit connection."""
        return self._pool.connection()

    async def query(self, work: Work[T]) -> T:
        """Do the work, one statement, tried again while our own Postgres is away.

        Raises OperationsAway when it stays away for RETRY_SECONDS.
        """
        return await self._persist(work)

    async def transact(self, work: Work[T]) -> T:
        """As query, with several statements in one transaction."""

        async def in_transaction(connection: AsyncConnection, again: bool) -> T:
            async with connection.transaction():
                return await work(connection, again)

        return await self._persist(in_transaction)

    async def _persist(self, work: Work[T]) -> T:
        deadline = time.monotonic() + RETRY_SECONDS
        wait = FIRST_RETRY_SECONDS
        again = False
        while True:
            try:
                remaining = max(deadline - time.monotonic(), FIRST_RETRY_SECONDS)
                async with self._pool.connection(remaining) as connection:
                    return await work(connection, again)
            except psycopg.OperationalError as away:
                if time.monotonic() + wait > deadline:
                    raise OperationsAway(
                        f"Our own Postgres (DAGSTER_PG_URL) was away for {RETRY_SECONDS:.0f} s: "
                        f"{postgres_message(away)}. No request is sent that cannot be recorded; one whose "
                        "answer could not be kept counts as indeterminate. Run it again when it is back."
                    ) from None
            await asyncio.sleep(wait)
            await self._drop_broken_connections()
            wait *= 2
            again = True

    async def write(self, work: Work[T]) -> T:
        """As transact, but what comes while a commit is under way shares the next one.

        The work goes on when its caller is cancelled.
        """
        written: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, written))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_what_waits())
        return await asyncio.shield(written)

    async def drain(self) -> None:
        """Wait until nothing is left to be written."""
        while self._committing is not None:
            await asyncio.wait({self._committing})

    async def _commit_what_waits(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting, []
                await self._commit(together)
        finally:
            self._committing = None
            for _, written in self._waiting:
                written.cancel()

    async def _commit(self, together: Sequence[tuple[Work[Any], asyncio.Future[Any]]]) -> None:
        async def all_of_them(connection: AsyncConnection, again: bool) -> list[Any]:
            return [await work(connection, again) for work, _ in together]

        try:
            results = await self.transact(all_of_them)
        except Exception as fault:
            if len(together) == 1 or isinstance(fault, OperationsAway):
                for _, written in together:
                    _fail(written, fault)
            else:  # one of them may have spoilt it for the others
                for alone in together:
                    await self._commit([alone])
        except BaseException:
            for _, written in together:
                written.cancel()
            raise
        else:
            for (_, written), result in zip(together, results, strict=True):
                if not written.done():
                    written.set_result(result)

    async def _drop_broken_connections(self) -> None:
        """After a restart all idle connections are broken: one look replaces them."""
        with contextlib.suppress(psycopg.OperationalError):
            await self._pool.check()


def _fail(written: asyncio.Future[Any], fault: Exception) -> None:
    if not written.done():
        written.set_exception(fault)
        written.exception()  # a caller that was cancelled meanwhile does not fetch it


@asynccontextmanager
async def open_operations(url: str) -> AsyncIterator[Operations]:
    """Our own Postgres, its schema laid; closed when nothing is left to be written.

    Raises SettingsError when DAGSTER_PG_URL is no Postgres URL, FatalError when nobody answers there.
    """
    conninfo = operations_conninfo(url)
    try:
        async with await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=10
        ) as first:
            await _migrate(first)
    except psycopg.OperationalError as unreachable:
        raise FatalError(
            f"Our own Postgres (DAGSTER_PG_URL) cannot be used: {postgres_message(unreachable)}. "
            "Nothing was asked or written; start it, or set the URL of one that runs."
        ) from None
    pool = AsyncConnectionPool(
        conninfo, min_size=1, max_size=POOL_SIZE, open=False, kwargs={"autocommit": True}, timeout=60
    )
    async with pool:
        operations = Operations(pool)
        try:
            yield operations
        finally:
            await operations.drain()


@asynccontextmanager
async def exclusive_ranges(
    url: str, table_id: str, range_keys: Sequence[str] | None, log: logging.Logger
) -> AsyncIterator[None]:
    """Hold ranges for this run alone (None: the whole table), waiting while another run holds one.

    The locks are session locks on a connection of their own, so the death of the process gives them back.
    When that connection is lost another run may take the ranges: then the body is cancelled, as if by a
    person, and FatalError is raised.
    """
    conninfo = make_conninfo(operations_conninfo(url), **_KEEPALIVES)
    table = f"{table_id} table"
    fault: BaseException
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await _lock(connection, table, shared=range_keys is not None, log=log)
        # In one order for all: no two runs then wait for each other.
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
        async for _ in connection.notifies():  # there are none; but the end of the connection is seen at once
            pass
    except psycopg.OperationalError as lost:
        raise FatalError(
            "The lock on the ranges was lost with its connection to our own Postgres: "
            f"{postgres_message(lost)}. As another run could take them now, this one stops. "
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


async def _migrate(connection: psycopg.AsyncConnection) -> None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [_SCHEMA_LOCK])
        cursor = await connection.execute("select to_regclass('aboutness_ops.schema_version')::text")
        row = await cursor.fetchone()
        laid = 0
        if row is not None and row[0] is not None:
            cursor = await connection.execute("select version from aboutness_ops.schema_version")
            [laid] = await cursor.fetchone() or [0]
        for version in range(laid + 1, _SCHEMA_VERSION + 1):
            statements = files(__package__).joinpath("migrations", f"{_MIGRATIONS[version - 1]}.sql")
            await connection.execute(statements.read_bytes())
        if laid < _SCHEMA_VERSION:
            await connection.execute(
                "update aboutness_ops.schema_version set version = %s", [_SCHEMA_VERSION]
            )

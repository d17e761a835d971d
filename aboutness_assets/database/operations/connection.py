"""Our own Postgres: opening it, and transactions that outlast its absence."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from aboutness_assets.database.operations.schema import migrate, schema_version
from aboutness_assets.database.pooler import require_sessions
from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.silence import END_WITH_THE_HOST
from aboutness_assets.domain.errors import DatabaseAway, FatalError

T = TypeVar("T")

Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]
"""What is done in one transaction. It must be idempotent: when the connection breaks at the very end, it is
done again although it may have been committed."""

POOL_SIZE = 8
"""Connections to our own Postgres in one process; a transaction holds one for a few milliseconds."""

RETRY_SECONDS = 75.0
"""How long a transaction is retried while our own Postgres is away: a restart of a minute costs no run. Paid
answers wait in memory meanwhile."""

FIRST_RETRY_SECONDS = 0.1
"""Wait before the first retry; doubled before each further one."""

MAX_RETRY_WAIT_SECONDS = 2.0

CONNECT_SECONDS = 10


class OperationsUnavailable(FatalError):
    """Our own Postgres was away, or all our connections to it were in use, for longer than we retry."""


class Operations:
    """Our own Postgres, open and with its schema up to date.

    retry_seconds: how long a transaction is retried before OperationsUnavailable is raised. callers: how many
    transactions are under way or wait for a connection.
    """

    def __init__(
        self, pool: AsyncConnectionPool[AsyncConnection], *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._pool = pool
        self._retry_seconds = retry_seconds
        self.callers = 0
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._committing: asyncio.Task[None] | None = None

    @property
    def conninfo(self) -> str:
        """Where it is, as libpq reads it; it may hold a password."""
        return str(self._pool.conninfo)

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """An autocommit connection, for work that is not retried."""
        return self._pool.connection()

    async def query(self, work: Work[T]) -> T:
        """Do the work, one statement, and retry it while our own Postgres is away.

        Raises OperationsUnavailable.
        """
        return await self._retry(work)

    async def transact(self, work: Work[T]) -> T:
        """As query, with several statements in one transaction."""

        async def in_transaction(connection: AsyncConnection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self._retry(in_transaction)

    async def write(self, work: Work[T]) -> T:
        """As transact, but all that arrives during one commit shares the next one (group commit).

        The work is done even when its caller is cancelled.
        """
        written: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, written))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all_waiting())
        return await asyncio.shield(written)

    async def drain(self) -> None:
        """Wait until nothing is left to be written."""
        while self._committing is not None:
            await asyncio.wait({self._committing})

    async def _retry(self, work: Work[T]) -> T:
        self.callers += 1
        try:
            return await self._work(work)
        finally:
            self.callers -= 1

    async def _work(self, work: Work[T]) -> T:
        deadline = time.monotonic() + self._retry_seconds
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                remaining = max(deadline - time.monotonic(), FIRST_RETRY_SECONDS)
                async with self._pool.connection(remaining) as connection:
                    return await work(connection)
            except psycopg.OperationalError as error:
                if time.monotonic() + wait > deadline:
                    raise await self._unavailable(error) from error
            await asyncio.sleep(wait)
            await self._replace_broken_connections()
            wait = min(2 * wait, MAX_RETRY_WAIT_SECONDS)

    async def _unavailable(self, error: psycopg.OperationalError) -> OperationsUnavailable:
        """What to raise after ``error``; a full pool is told apart from a Postgres that is away."""
        if isinstance(error, PoolTimeout):
            try:
                async with await AsyncConnection.connect(
                    str(self._pool.conninfo), connect_timeout=CONNECT_SECONDS
                ):
                    return OperationsUnavailable(
                        f"All {self._pool.max_size} connections to our own Postgres (DAGSTER_PG_URL) were "
                        f"in use for {self._retry_seconds:.0f} s, although it answers: its transactions take "
                        "too long or wait for a lock. What is paid for is kept. Look at pg_stat_activity, "
                        "then run it again."
                    )
            except psycopg.OperationalError as away:
                error = away
        return OperationsUnavailable(
            f"Our own Postgres (DAGSTER_PG_URL) was away for {self._retry_seconds:.0f} s: "
            f"{postgres_message(error)}. No request is sent that cannot be recorded; one whose answer could "
            "not be kept counts as uncertain. Run it again when Postgres is back."
        )

    async def _commit_all_waiting(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit(group)
        finally:
            self._committing = None
            for _, written in self._waiting:
                written.cancel()

    async def _commit(self, group: Sequence[tuple[Work[Any], asyncio.Future[Any]]]) -> None:
        async def all_in_order(connection: AsyncConnection) -> list[Any]:
            return [await work(connection) for work, _ in group]

        try:
            results = await self.transact(all_in_order)
        except Exception as fault:
            if len(group) == 1 or isinstance(fault, OperationsUnavailable):
                for _, written in group:
                    _fail(written, fault)
            else:  # one of them may have made the others fail
                for alone in group:
                    await self._commit([alone])
        except BaseException:
            for _, written in group:
                written.cancel()
            raise
        else:
            for (_, written), result in zip(group, results, strict=True):
                if not written.done():
                    written.set_result(result)

    async def _replace_broken_connections(self) -> None:
        """After a restart of Postgres all idle connections are broken: a check replaces them."""
        with contextlib.suppress(psycopg.OperationalError):
            await self._pool.check()


def _fail(written: asyncio.Future[Any], fault: Exception) -> None:
    if not written.done():
        written.set_exception(fault)
        written.exception()  # a caller that was cancelled meanwhile does not fetch it


async def known_schema_version(conninfo: str) -> int:
    """The version of the schema of our own Postgres, on which this code can work; nothing is changed.

    0 before the first run. Raises as open_operations does.
    """
    async with _first_connection(conninfo) as connection:
        return await schema_version(connection)


@asynccontextmanager
async def _first_connection(conninfo: str) -> AsyncIterator[AsyncConnection]:
    try:
        await asyncio.to_thread(require_sessions, conninfo)
        async with await AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=CONNECT_SECONDS
        ) as connection:
            yield connection
    except psycopg.OperationalError as unreachable:
        raise DatabaseAway(
            f"Our own Postgres (DAGSTER_PG_URL) cannot be used: {postgres_message(unreachable)}. "
            "Nothing was asked or written; start it, or set the URL of one that runs."
        ) from unreachable


async def _end_with_the_host(connection: AsyncConnection) -> None:
    await connection.execute(END_WITH_THE_HOST)


@asynccontextmanager
async def open_operations(
    conninfo: str, *, pool_size: int = POOL_SIZE, retry_seconds: float = RETRY_SECONDS
) -> AsyncIterator[Operations]:
    """Our own Postgres with its schema up to date; closed when nothing is left to be written.

    conninfo: as ``operations_conninfo`` returns it. pool_size: connections at most.
    Raises FatalError when Postgres does not answer, or when its schema is newer than this code; SettingsError
    where a transaction pooler stands before it.
    """
    async with _first_connection(conninfo) as connection:
        await migrate(connection)
    pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
        conninfo,
        min_size=1,
        max_size=pool_size,
        open=False,
        kwargs={"autocommit": True},
        configure=_end_with_the_host,
        timeout=60,
    )
    async with pool:
        operations = Operations(pool, retry_seconds=retry_seconds)
        try:
            yield operations
        finally:
            await operations.drain()

"""Connections to the service's database: a pool of few, shared by many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from psycopg import AsyncConnection, IsolationLevel
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.pooler import is_pooled
from aboutness_assets.database.postgres_errors import database_errors_as_sentences
from aboutness_assets.database.silence import END_WITH_THE_HOST
from aboutness_assets.database.url import ServiceUrl
from aboutness_assets.domain.errors import FatalError

TURN_SECONDS = 600.0
"""How long a caller waits for its turn at most. 500 rows with vectors of 1,536 numbers take 0.4 s on two busy
cores, so 128 writers (32 ranges, 4 each) on a single connection wait for less than a minute. Ten minutes mean
a statement that hangs."""


APPLICATION_NAME = "aboutness-assets"
"""What pg_stat_activity shows, unless the URL names another."""

STATEMENT_SECONDS = 3600
"""No statement runs longer: a look at all rows of 100 million may take many minutes."""

IDLE_SECONDS = 60
"""Postgres ends a transaction of ours that does nothing for so long: only a process that hangs has one."""

SHORT_STATEMENT_SECONDS = 300
"""No read of a page of songs, and no INSERT of a row, runs or waits for a lock longer."""

_LOWER_TIME_OUTS = (
    "select set_config(name, seconds || 's', %s::boolean)"
    " from unnest(%s::text[], %s::integer[]) as bound(name, seconds)"
    " where current_setting(name)::interval = '0'"
    " or current_setting(name)::interval > seconds * '1s'::interval"
)
"""Stricter time-outs, of the role or in the URL, stay as they are."""


class ServicePool(AsyncConnectionPool[AsyncConnection]):
    """A pool, not yet open, of at most ``max_size`` connections, or fewer where the URL limits them.

    Every session has the time-outs of STATEMENT_SECONDS and IDLE_SECONDS, or stricter ones of its own.

    A connection that was cut while it was idle, as serverless hosts and firewalls do, is replaced before
    anybody gets it.

    Callers take turns, first come, first served. The timeout of ``connection()`` (by default the URL's
    pool_timeout) starts when the turn has come, so that a busy pool is never taken for a Postgres that is
    away. turn_seconds bounds the wait for a turn.

    Each ``connection()`` block is to be one transaction: a transaction pooler cannot serve more.
    """

    def __init__(
        self,
        url: ServiceUrl,
        max_size: int,
        turn_seconds: float = TURN_SECONDS,
        setting: str = "DATABASE_URL",
    ) -> None:
        self._url = url
        self._setting = setting
        self._turn_seconds = turn_seconds
        self._callers = 0
        self._connect_arguments: dict[str, Any] = {
            "prepare_threshold": url.prepare_threshold,
            "fallback_application_name": APPLICATION_NAME,
        }
        size = min(max_size, url.connection_limit or max_size)
        self._turns = asyncio.Semaphore(size)
        super().__init__(
            url.conninfo,
            kwargs=self._connect_arguments,
            min_size=1,
            max_size=size,
            timeout=url.pool_timeout,
            configure=None if url.transaction_pooler else self._prepare_session,
            check=self.check_connection,
            open=False,
        )

    @asynccontextmanager
    async def connection(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the pool's own signature
    ) -> AsyncIterator[AsyncConnection]:
        """A connection for one transaction, which is committed at the end. timeout: seconds for Postgres.

        Raises PoolTimeout when Postgres gives no connection, FatalError when the turn does not come.
        """
        self._callers += 1
        try:
            await self._wait_for_turn()
        except BaseException:
            self._callers -= 1
            raise
        try:
            async with super().connection(timeout) as connection:
                if self._url.transaction_pooler:
                    await self._prepare_session(connection)
                yield connection
        finally:
            self._callers -= 1
            self._turns.release()

    @property
    def callers(self) -> int:
        """How many hold a connection, or wait for one."""
        return self._callers

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """One more connection, in one transaction that reads the database as it is when it is opened.

        For what takes long: it takes none of the pool's connections. Raises psycopg's errors.
        """
        url = self._url
        async with await AsyncConnection.connect(url.conninfo, **self._connect_arguments) as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
            await self._prepare_session(connection)
            await connection.execute("select")
            yield connection

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(self._turn_seconds):
                await self._turns.acquire()
        except TimeoutError as too_long:
            raise FatalError(
                f"All connections of this run to the service's Postgres ({self._setting}), "
                f"{self.max_size} at most, were in use for {self._turn_seconds:.0f} s. What was written "
                "stays and what was paid for is kept: look for a statement that hangs there "
                f"(pg_stat_activity), or raise connection_limit in {self._setting}, then run it again."
            ) from too_long

    async def _prepare_session(self, connection: AsyncConnection) -> None:
        """Set the time-outs, and put the URL's schema before the role's own search_path.

        The types of extensions are still found there. Behind a transaction pooler all of it holds for the
        transaction, which stays open for the caller's own statements; elsewhere for the connection, and is
        committed.
        """
        await connection.execute(
            _LOWER_TIME_OUTS,
            [
                self._url.transaction_pooler,
                ["statement_timeout", "idle_in_transaction_session_timeout"],
                [STATEMENT_SECONDS, IDLE_SECONDS],
            ],
        )
        if self._url.schema is not None:
            await connection.execute(
                "select set_config('search_path', concat_ws(', ', quote_ident(%s::text),"
                " nullif(current_setting('search_path'), '')), %s::boolean)",
                [self._url.schema, self._url.transaction_pooler],
            )
        if not self._url.transaction_pooler:
            await connection.execute(END_WITH_THE_HOST)
            await connection.commit()


async def keep_short(connection: AsyncConnection) -> None:
    """Let no further statement of this transaction take longer than SHORT_STATEMENT_SECONDS."""
    await connection.execute(_LOWER_TIME_OUTS, [True, ["statement_timeout"], [SHORT_STATEMENT_SECONDS]])


@asynccontextmanager
async def open_service(
    url: ServiceUrl, max_size: int, setting: str = "DATABASE_URL"
) -> AsyncIterator[ServicePool]:
    """A pool of at most ``max_size`` connections to the service's Postgres, whose URL ``setting`` holds.

    Behind a pooler of any kind it relies on no session, whether or not the URL says ``pgbouncer=true``.
    Raises FatalError where Postgres does not answer or refuses the role.
    """
    with database_errors_as_sentences(
        f"The service's Postgres ({setting}) cannot be used",
        "Nothing was asked or written; check the URL and that it runs.",
    ):
        async with await AsyncConnection.connect(url.conninfo) as connection:
            cursor = await connection.execute("select pg_backend_pid()", prepare=False)
            if (pid := await cursor.fetchone()) and is_pooled(connection.info.backend_pid, int(pid[0])):
                url = replace(url, transaction_pooler=True, prepare_threshold=None)
    async with ServicePool(url, max_size, setting=setting) as pool:
        yield pool

"""Locks on ranges: no two runs work on one range at the same time, on whichever hosts they are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo

from aboutness_assets.database.hold import HEARTBEAT_SECONDS, Hold
from aboutness_assets.database.operations.connection import RETRY_SECONDS
from aboutness_assets.database.operations.schema import migrate
from aboutness_assets.database.pooler import require_sessions
from aboutness_assets.database.postgres_errors import (
    DatabaseError,
    database_errors_as_sentences,
    postgres_message,
)
from aboutness_assets.database.silence import END_WITH_THE_HOST
from aboutness_assets.domain.errors import FatalError, first_error

_OF_CLIENT = {"connect_timeout": 5, "keepalives_idle": 5}
"""Seconds; shorter than for other connections (silence.OF_CLIENT), so that the locks are taken again soon."""

_ANSWER_SECONDS = 12.0
"""So long an answer is waited for. Longer than the system takes to find that the connection is dead."""

_SECONDS_BETWEEN_ATTEMPTS = 0.2

HOLDERS_FIRST_SECONDS = 5.0
"""So much longer waits a run that waited for a lock when Postgres went away: the holder may retake it."""


@asynccontextmanager
async def exclusive_ranges(
    conninfo: str,
    table_id: str,
    range_keys: Sequence[str] | None,
    log: logging.Logger,
    *,
    retake_seconds: float = RETRY_SECONDS,
) -> AsyncIterator[Hold]:
    """Hold ranges for this run alone (None: the whole table); waits while another run holds one of them.

    Yields what says whether they are held for sure: nothing may be paid or written while they are not.
    conninfo: of our own Postgres, as ``operations_conninfo`` returns it; its schema is brought up to date.
    The locks are session locks on a connection of their own, so they end with the process. When that
    connection is lost they are taken again, for ``retake_seconds``. If another run had one of them meanwhile,
    or Postgres stays away, the body is cancelled and FatalError is raised.
    Raises SettingsError where a transaction pooler stands before our own Postgres.
    """
    # All runs take their ranges in the same order, so no two can wait for each other.
    names = {f"{table_id} table": range_keys is not None}
    names |= {f"{table_id} range {key}": False for key in sorted(set(range_keys or ()))}
    locks = _Locks(make_conninfo(conninfo, **_OF_CLIENT), names, log, retake_seconds)
    with database_errors_as_sentences(
        "Our own Postgres (DAGSTER_PG_URL) cannot be used",
        "Nothing was asked or written; start it, or set the URL of one that runs.",
    ):
        await asyncio.to_thread(require_sessions, conninfo)
        await locks.take()
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(locks.keep())
            yield locks.hold
            watch.cancel()
        return
    except BaseExceptionGroup as faults:
        fault = first_error(faults, (FatalError, DatabaseError))
    finally:
        await locks.release()
    raise fault


class _Locks:
    """Locks that one session holds together; names: each lock's name, and whether it is shared."""

    def __init__(
        self, conninfo: str, names: Mapping[str, bool], log: logging.Logger, retake_seconds: float
    ) -> None:
        self.hold = Hold()
        self._conninfo = conninfo
        self._names = names
        self._log = log
        self._retake_seconds = retake_seconds
        self._connection: psycopg.AsyncConnection | None = None
        self._backends: list[tuple[int, datetime]] = []
        self._times_taken: Mapping[str, int] = {}

    async def take(self) -> None:
        """Wait for all locks. Raises psycopg.Error where Postgres is away, at first or for too long."""
        connection = await self._connect()
        await migrate(connection)
        away_since = None
        while True:
            try:
                for name, shared in self._names.items():
                    await self._wait_for(connection, name, shared=shared)
                asked_at = self.hold.clock()
                self._times_taken = await self._count_taking(connection)
                self.hold.confirm(asked_at)
                return
            except psycopg.OperationalError as lost:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > self._retake_seconds:
                    raise
                self._log.warning("Waiting for a lock begins again: %s.", postgres_message(lost))
            await asyncio.sleep(HOLDERS_FIRST_SECONDS)
            try:
                connection = await self._connect()
                away_since = None
            except psycopg.OperationalError:
                continue  # the old connection, still broken, raises again

    async def keep(self) -> None:
        """Take the locks again whenever their session is lost. Raises FatalError where that cannot be."""
        while True:
            lost = await self._loss()
            self.hold.doubt()
            self._log.warning(
                "The connection to our own Postgres (DAGSTER_PG_URL) that holds the locks on the ranges was "
                "lost (%s); they are taken again.",
                lost,
            )
            deadline = time.monotonic() + self._retake_seconds
            while True:
                try:
                    if await self._retake():
                        break
                except psycopg.OperationalError as error:
                    lost = postgres_message(error)
                if time.monotonic() > deadline:
                    raise FatalError(
                        "The locks on the ranges were lost with our own Postgres (DAGSTER_PG_URL), which was "
                        f"away for {self._retake_seconds:.0f} s: {lost}. What was written and what was paid "
                        "for is kept; run it again when it is back."
                    )
                await asyncio.sleep(_SECONDS_BETWEEN_ATTEMPTS)

    async def release(self) -> None:
        """Let go of all locks."""
        if self._connection is not None:
            await self._connection.close()

    async def _connect(self) -> psycopg.AsyncConnection:
        await self.release()
        self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        await self._connection.execute(END_WITH_THE_HOST)
        cursor = await self._connection.execute(
            "select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()"
        )
        self._backends += await cursor.fetchall()
        return self._connection

    async def _end_lost_backends(self, connection: psycopg.AsyncConnection) -> bool:
        """Whether server processes of connections that were lost are still there; they are told to end."""
        cursor = await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " join unnest(%s::integer[], %s::timestamptz[]) as ours (pid, backend_start)"
            " using (pid, backend_start) where pid <> pg_backend_pid()",
            [[pid for pid, _ in self._backends], [begun_at for _, begun_at in self._backends]],
        )
        return await cursor.fetchone() is not None

    async def _loss(self) -> str:
        """Wait until the connection is lost, and confirm the locks meanwhile; what was said."""
        assert self._connection is not None
        while True:
            asked_at = self.hold.clock()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._connection.execute("select 1")
                self.hold.confirm(asked_at)
                # None ever comes, but the connection's end is seen at once.
                async for _ in self._connection.notifies(timeout=HEARTBEAT_SECONDS):
                    pass
            except TimeoutError:
                return f"no answer within {_ANSWER_SECONDS:.0f} s"
            except psycopg.OperationalError as lost:
                return postgres_message(lost)

    async def _wait_for(self, connection: psycopg.AsyncConnection, name: str, *, shared: bool) -> None:
        if await _try_to_lock(connection, name, shared=shared):
            return
        self._log.info(
            "Another run is working on %s: waiting until it is done, so that nothing is paid for twice.",
            name,
        )
        kind = "_shared" if shared else ""
        await connection.execute(f"select pg_advisory_lock{kind}(hashtextextended(%s, 0))", [name])

    async def _retake(self) -> bool:
        """Whether all locks are held again; False where the server has not yet noticed the loss.

        Raises FatalError where another run has, or had, one of them.
        """
        connection = await self._connect()
        for name, shared in self._names.items():
            if not await _try_to_lock(connection, name, shared=shared):
                if await self._end_lost_backends(connection):
                    return False
                raise _taken(name)
        asked_at = self.hold.clock()
        for name, times in (await self._times(connection)).items():
            if times != self._times_taken[name]:
                raise _taken(name)
        self.hold.confirm(asked_at)
        self._log.info("The locks on the ranges are held again; no other run had them meanwhile.")
        return True

    async def _count_taking(self, connection: psycopg.AsyncConnection) -> dict[str, int]:
        """Count that the exclusive locks were taken; how often each lock was by now."""
        await connection.execute(
            "insert into aboutness_ops.lock_taken as known (name, times) select unnest(%s::text[]), 1"
            " on conflict (name) do update set times = known.times + 1",
            [[name for name, shared in self._names.items() if not shared]],
        )
        return await self._times(connection)

    async def _times(self, connection: psycopg.AsyncConnection) -> dict[str, int]:
        cursor = await connection.execute(
            "select name, times from aboutness_ops.lock_taken where name = any(%s)", [list(self._names)]
        )
        return dict.fromkeys(self._names, 0) | dict(await cursor.fetchall())


def _taken(name: str) -> FatalError:
    return FatalError(
        "The locks on the ranges were lost with the connection to our own Postgres (DAGSTER_PG_URL), and "
        f"another run took {name} meanwhile, so this one stops. What was written and what was paid for is "
        "kept; run it again."
    )


async def _try_to_lock(connection: psycopg.AsyncConnection, name: str, *, shared: bool) -> bool:
    kind = "_shared" if shared else ""
    cursor = await connection.execute(f"select pg_try_advisory_lock{kind}(hashtextextended(%s, 0))", [name])
    return await cursor.fetchone() == (True,)


HoldIdle: TypeAlias = Callable[[Collection[str]], Awaitable[set[str]]]
"""Holds those of some ranges that no run holds, and says which they are; '' is the table, where no run holds
all of it."""


@asynccontextmanager
async def checks_alone(conninfo: str, table_id: str) -> AsyncIterator[HoldIdle]:
    """Let one process at a time evaluate the checks of a table; others wait.

    What is held ends with the block or the process, so that a run that wants it waits no longer than that.
    """
    async with await psycopg.AsyncConnection.connect(
        make_conninfo(conninfo, **_OF_CLIENT), autocommit=True
    ) as connection:
        await connection.execute(END_WITH_THE_HOST)

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

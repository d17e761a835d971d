"""Our own schema and the lock on a range, with several runs and processes at once."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

from aboutness_assets.database.operations.connection import (
    Operations,
    Work,
    exclusive_ranges,
    open_operations,
)
from aboutness_assets.domain.errors import FatalError, SettingsError
from tests.support.backfills import DEADLINE_SECONDS
from tests.support.service_database import ServiceDatabase

MakeService = Callable[..., ServiceDatabase]

LOG = logging.getLogger("operations")

HOLDER = """
import asyncio, logging, sys
from aboutness_assets.database.operations.connection import exclusive_ranges
async def hold():
    async with exclusive_ranges(sys.argv[1], "service", ["range"], logging.getLogger()):
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(hold())
"""


class Holder:
    """A run that holds ranges (none named: the whole table) until it is told to leave."""

    def __init__(self, url: str, *range_keys: str, service: str = "service") -> None:
        self.holds = asyncio.Event()
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(url, service, range_keys or None))

    async def _hold(self, url: str, service: str, range_keys: Sequence[str] | None) -> None:
        async with exclusive_ranges(url, service, range_keys, LOG):
            self.holds.set()
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def transaction(connection: AsyncConnection, again: bool) -> str:
    """The id of the transaction that it is done in."""
    [(name,)] = await fetch(connection, "select pg_current_xact_id()::text")
    return str(name)


async def fetch(connection: AsyncConnection, query: str) -> list[tuple[object, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


async def waiting_for_a_lock(url: str, number: int) -> None:
    """Return when so many sessions of our own database wait for an advisory lock."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                cursor = await connection.execute(
                    "select count(*) from pg_locks where locktype = 'advisory' and not granted"
                    " and database = (select oid from pg_database where datname = current_database())"
                )
                if await cursor.fetchone() == (number,):
                    return
                await asyncio.sleep(0.01)


async def test_runs_that_start_at_once_lay_the_schema_once(make_service: MakeService) -> None:
    url = make_service().ops_url

    async def versions() -> list[tuple[int]]:
        async with open_operations(url) as operations, operations.connection() as connection:
            return await (
                await connection.execute("select version from aboutness_ops.schema_version")
            ).fetchall()

    once = await asyncio.gather(*(versions() for _ in range(8)))
    again = await versions()

    assert [*once, again] == [again] * 9
    assert len(again) == 1


async def test_the_form_that_sqlalchemy_reads_is_understood(make_service: MakeService) -> None:
    url = make_service().ops_url.replace("postgresql://", "postgresql+psycopg2://")

    async with open_operations(url) as operations, operations.connection() as connection:
        await connection.execute("select 1 from aboutness_ops.chat_request")
    async with exclusive_ranges(url, "service", ["range"], LOG):
        pass


async def test_a_schema_of_version_1_is_brought_up_to_date_and_keeps_what_it_holds(
    make_service: MakeService,
) -> None:
    url = make_service().ops_url
    migrations = files("aboutness_assets.database.operations") / "migrations"
    version_1 = (migrations / "0001_journal_failed_songs_old_style.sql").read_bytes()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(version_1)
        await connection.execute("insert into aboutness_ops.spend values ('backfill', 0.5)")

    async with open_operations(url) as operations, operations.connection() as connection:
        assert await fetch(connection, "select usd::float8 from aboutness_ops.spend") == [(0.5,)]
        assert await fetch(connection, "select count(*) from aboutness_ops.rate_limit") == [(0,)]
        assert await fetch(connection, "select version from aboutness_ops.schema_version") == [(4,)]


async def test_what_comes_while_a_commit_is_under_way_shares_the_next(operations: Operations) -> None:
    under_way, may_commit = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection, again: bool) -> str:
        under_way.set()
        await may_commit.wait()
        return await transaction(connection, again)

    first = asyncio.create_task(operations.write(slow))
    await under_way.wait()
    others = [asyncio.create_task(operations.write(transaction)) for _ in range(5)]
    await asyncio.sleep(0)
    may_commit.set()

    assert len({await other for other in others}) == 1
    assert await first != await others[0]


async def test_of_what_shares_a_commit_only_what_fails_is_not_written(operations: Operations) -> None:
    async with operations.connection() as connection:
        await connection.execute("create table if not exists public.written (number integer primary key)")
        await connection.execute("truncate public.written")

    def insert(number: int) -> Work[int]:
        async def work(connection: AsyncConnection, again: bool) -> int:
            await connection.execute("insert into public.written values (%s)", [number])
            if number == 2:
                raise ValueError
            return number

        return work

    numbers = (1, 2, 3, 1, 4)
    outcomes = await asyncio.gather(*(operations.write(insert(n)) for n in numbers), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [int, ValueError, int, UniqueViolation, int]
    async with operations.connection() as connection:
        assert await fetch(connection, "select number from public.written order by 1") == [(1,), (3,), (4,)]


async def test_what_is_to_be_written_is_written_although_its_caller_is_cancelled(
    make_service: MakeService,
) -> None:
    url = make_service().ops_url

    async def spend(connection: AsyncConnection, again: bool) -> None:
        await connection.execute("insert into aboutness_ops.spend values ('backfill', 1)")

    async with open_operations(url) as operations:
        caller = asyncio.create_task(operations.write(spend))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    async with await psycopg.AsyncConnection.connect(url) as connection:
        assert await fetch(connection, "select usd::float8 from aboutness_ops.spend") == [(1.0,)]


async def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError, match="DAGSTER_PG_URL") as refused:
        async with open_operations("sesame"):
            pass

    assert "sesame" not in str(refused.value)


async def test_a_postgres_that_does_not_answer_is_told_without_the_password() -> None:
    with pytest.raises(FatalError, match="DAGSTER_PG_URL") as stopped:
        async with open_operations("postgresql://user:sesame@127.0.0.1:1/database"):
            pass

    assert "sesame" not in str(stopped.value)


async def test_a_held_range_is_waited_for(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = make_service().ops_url
    first = Holder(url, "range")
    await first.holds.wait()
    second = Holder(url, "range")
    await waiting_for_a_lock(url, 1)
    assert not second.holds.is_set()
    assert "waiting until it is done" in caplog.text

    await first.leave()

    await second.holds.wait()
    await second.leave()


async def test_other_ranges_and_other_services_are_free(make_service: MakeService) -> None:
    url = make_service().ops_url
    holders = [
        Holder(url, "range"),
        Holder(url, "other range"),
        Holder(url, "range", service="other service"),
    ]

    await asyncio.gather(*(holder.holds.wait() for holder in holders))

    await asyncio.gather(*(holder.leave() for holder in holders))


async def test_the_whole_table_and_a_range_exclude_each_other(make_service: MakeService) -> None:
    url = make_service().ops_url
    of_range = Holder(url, "range")
    await of_range.holds.wait()
    whole = Holder(url)
    await waiting_for_a_lock(url, 1)
    later = Holder(url, "other range")
    await waiting_for_a_lock(url, 2)

    await of_range.leave()

    await whole.holds.wait()
    assert not later.holds.is_set()
    await whole.leave()
    await later.holds.wait()
    await later.leave()


async def test_ranges_that_overlap_exclude_each_other_in_whatever_order_they_are_named(
    make_service: MakeService,
) -> None:
    url = make_service().ops_url
    first = Holder(url, "a", "b", "c")
    await first.holds.wait()
    second = Holder(url, "d", "c", "b")
    await waiting_for_a_lock(url, 1)
    third = Holder(url, "b", "d")
    await waiting_for_a_lock(url, 2)
    apart = Holder(url, "e", "e")
    await apart.holds.wait()
    assert not second.holds.is_set()

    for holder in (apart, first, second, third):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await holder.holds.wait()
        await holder.leave()


async def test_a_run_that_is_cancelled_while_it_waits_holds_nothing(make_service: MakeService) -> None:
    url = make_service().ops_url
    first = Holder(url, "range")
    await first.holds.wait()
    second = Holder(url, "range")
    await waiting_for_a_lock(url, 1)

    second.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await second.task
    await waiting_for_a_lock(url, 0)
    await first.leave()
    third = Holder(url, "range")
    await third.holds.wait()
    await third.leave()


async def test_the_death_of_a_process_gives_its_range_back(make_service: MakeService) -> None:
    url = make_service().ops_url
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    second = Holder(url, "range")
    await waiting_for_a_lock(url, 1)

    process.kill()

    await process.wait()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await second.holds.wait()
    await second.leave()

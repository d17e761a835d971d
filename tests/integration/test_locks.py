"""Locks on ranges, with several runs and processes at once."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial

import psycopg
import pytest

from aboutness_assets.database.operations.locks import exclusive_ranges
from aboutness_assets.domain.errors import FatalError
from tests.support.backfills import DEADLINE_SECONDS, wait_until
from tests.support.service_database import ServiceDatabase

MakeService = Callable[..., ServiceDatabase]

LOG = logging.getLogger("operations")

HOLDER = """
import asyncio, logging, sys
from aboutness_assets.database.operations.locks import exclusive_ranges
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


def end_the_holder(url: str) -> None:
    """Cut the connection of the session that holds the lock of a range, and return when it is gone."""
    holder = (
        "select pid from pg_locks where locktype = 'advisory' and granted and mode = 'ExclusiveLock'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        [(pid,)] = connection.execute(holder).fetchall()
        connection.execute("select pg_terminate_backend(%s, 10000)", [pid])


async def test_a_lock_whose_session_is_lost_is_taken_again_and_the_run_goes_on(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = make_service().ops_url
    first = Holder(url, "range")
    await first.holds.wait()

    def held_again() -> int:
        return caplog.text.count("are held again; no other run had them")

    for number in (1, 2):
        await asyncio.to_thread(end_the_holder, url)
        await asyncio.to_thread(wait_until, partial(lambda times: held_again() == times, number))

    second = Holder(url, "range")
    await waiting_for_a_lock(url, 1)
    assert not second.holds.is_set()
    await first.leave()
    await second.holds.wait()
    await second.leave()


async def test_a_run_stops_where_another_had_its_lock_meanwhile(make_service: MakeService) -> None:
    url = make_service().ops_url
    first = Holder(url, "range")
    await first.holds.wait()
    with psycopg.connect(url) as connection:  # another run came and went
        connection.execute("update aboutness_ops.lock_taken set times = times + 1")
    await asyncio.to_thread(end_the_holder, url)

    with pytest.raises(FatalError, match=r"another run took service range range meanwhile.*run it again"):
        await first.task


async def test_a_shared_lock_is_lost_to_a_run_over_the_whole_table(make_service: MakeService) -> None:
    url = make_service().ops_url
    of_range = Holder(url, "range")
    await of_range.holds.wait()
    whole = Holder(url)
    await waiting_for_a_lock(url, 1)

    await asyncio.to_thread(end_the_holder, url)

    await whole.holds.wait()
    with pytest.raises(FatalError, match="another run took service table meanwhile"):
        await of_range.task
    await whole.leave()

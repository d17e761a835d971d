"""Our own schema and the lock on a range, with several runs and processes at once."""

import asyncio
import logging
import sys
from collections.abc import Callable

import psycopg
import pytest
from backfills import DEADLINE_SECONDS
from service_database import ServiceDatabase

from aboutness_assets.database.operations import exclusive_range, open_operations
from aboutness_assets.errors import GlobalFault, SettingsError

MakeService = Callable[..., ServiceDatabase]

LOG = logging.getLogger("operations")

HOLDER = """
import asyncio, logging, sys
from aboutness_assets.database.operations import exclusive_range
async def hold():
    async with exclusive_range(sys.argv[1], "service", "range", logging.getLogger()):
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(hold())
"""


class Holder:
    """A run that holds a range until it is told to leave."""

    def __init__(self, url: str, range_key: str | None = "range", service: str = "service") -> None:
        self.holds = asyncio.Event()
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(url, service, range_key))

    async def _hold(self, url: str, service: str, range_key: str | None) -> None:
        async with exclusive_range(url, service, range_key, LOG):
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


async def test_runs_that_start_at_once_lay_the_schema_once(make_service: MakeService) -> None:
    url = make_service().ops_url

    async def versions() -> list[tuple[int]]:
        async with open_operations(url) as pool, pool.connection() as connection:
            return await (
                await connection.execute("select version from aboutness_ops.schema_version")
            ).fetchall()

    once = await asyncio.gather(*(versions() for _ in range(8)))
    again = await versions()

    assert [*once, again] == [again] * 9
    assert len(again) == 1


async def test_the_form_that_sqlalchemy_reads_is_understood(make_service: MakeService) -> None:
    url = make_service().ops_url.replace("postgresql://", "postgresql+psycopg2://")

    async with open_operations(url) as pool, pool.connection() as connection:
        await connection.execute("select 1 from aboutness_ops.chat_request")
    async with exclusive_range(url, "service", "range", LOG):
        pass


async def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError, match="DAGSTER_PG_URL") as refused:
        async with open_operations("sesame"):
            pass

    assert "sesame" not in str(refused.value)


async def test_a_postgres_that_does_not_answer_is_told_without_the_password() -> None:
    with pytest.raises(GlobalFault, match="DAGSTER_PG_URL") as stopped:
        async with open_operations("postgresql://user:sesame@127.0.0.1:1/database"):
            pass

    assert "sesame" not in str(stopped.value)


async def test_a_held_range_is_waited_for(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = make_service().ops_url
    first = Holder(url)
    await first.holds.wait()
    second = Holder(url)
    await waiting_for_a_lock(url, 1)
    assert not second.holds.is_set()
    assert "waiting until it is done" in caplog.text

    await first.leave()

    await second.holds.wait()
    await second.leave()


async def test_other_ranges_and_other_services_are_free(make_service: MakeService) -> None:
    url = make_service().ops_url
    holders = [Holder(url), Holder(url, "other range"), Holder(url, service="other service")]

    await asyncio.gather(*(holder.holds.wait() for holder in holders))

    await asyncio.gather(*(holder.leave() for holder in holders))


async def test_the_whole_table_and_a_range_exclude_each_other(make_service: MakeService) -> None:
    url = make_service().ops_url
    of_range = Holder(url)
    await of_range.holds.wait()
    whole = Holder(url, None)
    await waiting_for_a_lock(url, 1)
    later = Holder(url, "other range")
    await waiting_for_a_lock(url, 2)

    await of_range.leave()

    await whole.holds.wait()
    assert not later.holds.is_set()
    await whole.leave()
    await later.holds.wait()
    await later.leave()


async def test_a_run_that_is_cancelled_while_it_waits_holds_nothing(make_service: MakeService) -> None:
    url = make_service().ops_url
    first = Holder(url)
    await first.holds.wait()
    second = Holder(url)
    await waiting_for_a_lock(url, 1)

    second.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await second.task
    await waiting_for_a_lock(url, 0)
    await first.leave()
    third = Holder(url)
    await third.holds.wait()
    await third.leave()


async def test_the_death_of_a_process_gives_its_range_back(make_service: MakeService) -> None:
    url = make_service().ops_url
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    second = Holder(url)
    await waiting_for_a_lock(url, 1)

    process.kill()

    await process.wait()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await second.holds.wait()
    await second.leave()

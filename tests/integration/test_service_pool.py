"""The pool of connections to the service: a busy one is waited for, an absent Postgres is reported."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from aboutness_assets.database.service.aboutness_table import AboutnessTable, InsertRetry, Row
from aboutness_assets.database.service.connection import ServicePool, open_service
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.database.url import ServiceUrl, service_conninfo
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import Aboutness
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.runs import fill_ranges
from tests.support.backfills import Backfills, sample_songs, wait_until
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

LOG = logging.getLogger("service_pool")
ONCE = InsertRetry(attempts=1)
QUICKLY = InsertRetry(attempts=3, first_wait_seconds=0.01)


def impatient(service: ServiceDatabase) -> ServiceUrl:
    """The service's URL with a pool_timeout that is much shorter than a slow insert takes."""
    return replace(service_conninfo(service.url), pool_timeout=0.05)


def row(song_id: int) -> Row:
    vector = np.ones(8, dtype=np.float32)
    return Row(song_id, Aboutness("pride", "high", "rain", "low"), vector, vector)


async def table_of(service: ServiceDatabase, retry: InsertRetry) -> AboutnessTable:
    async with await AsyncConnection.connect(service.url) as connection:
        return await read_table(connection, retry)


def make_inserts_slow(service: ServiceDatabase, seconds_per_row: float) -> None:
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("set local event_triggers = off")
        admin.execute(
            sql.SQL(
                "create function dawdle() returns trigger language plpgsql as"
                " $$ begin perform pg_sleep({}); return new; end $$;"
                " create trigger dawdle before insert on song_aboutness"
                " for each row execute function dawdle()"
            ).format(seconds_per_row)
        )


def look(service: ServiceDatabase, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(service.admin_url) as admin:
        return admin.execute(query.encode()).fetchall()


def is_inserting(service: ServiceDatabase) -> bool:
    """Whether a session is in the midst of an INSERT."""
    query = "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    return bool(look(service, query))


def cut_connections(service: ServiceDatabase, *, allow_new: bool) -> None:
    """End every connection of the service's role, and let it open new ones or not."""
    database = sql.Identifier(str(conninfo_to_dict(service.admin_url)["dbname"]))
    with psycopg.connect(service.admin_url, dbname="postgres", autocommit=True) as admin:
        if not allow_new:
            admin.execute(sql.SQL("alter database {} allow_connections false").format(database))
        admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
            [conninfo_to_dict(service.admin_url)["dbname"]],
        )


async def test_writers_wait_for_their_turn_longer_than_a_pool_timeout(make_service: MakeService) -> None:
    service = make_service()
    make_inserts_slow(service, 0.1)
    table = await table_of(service, ONCE)

    async with open_service(impatient(service), 2) as pool:
        async with pool.connection(5), pool.connection(5):
            """Both connections are open before the writers come."""
        inserted = await asyncio.gather(*(table.insert(pool, [row(number)], LOG) for number in range(10)))

    assert [one.written for one in inserted] == [1] * 10
    assert look(service, "select count(*) from song_aboutness") == [(10,)]


async def test_many_ranges_share_the_one_connection_of_a_slow_service(
    make_service: MakeService, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(songs=sample_songs(32 * 10))
    make_inserts_slow(service, 0.02)
    keys = [f"{first:09}-{first + 9:09}" for first in range(1, 32 * 10, 10)]
    reports: dict[str, Report] = {}
    url = f"{service.url}?connection_limit=1&pool_timeout=1"

    async with Backfills(service, stand_in).session(database_url=url) as session:
        await fill_ranges(session, keys, "run", LOG, reports.__setitem__)

    assert {key: report.songs_written for key, report in reports.items()} == dict.fromkeys(keys, 10)
    assert "Inserting failed" not in caplog.text


async def test_a_pool_that_stays_busy_is_reported_as_busy_and_serves_again_afterwards(
    make_service: MakeService,
) -> None:
    url = service_conninfo(make_service().url)
    async with ServicePool(url, 1, turn_seconds=0.05) as pool:
        async with pool.connection():
            with pytest.raises(FatalError, match=r"connections of this run .* were in use") as caught:
                async with pool.connection():
                    pass
        assert "run it again" in str(caught.value)
        async with pool.connection() as connection:
            await connection.execute("select 1")


async def test_a_turn_is_given_back_whatever_ends_it(make_service: MakeService) -> None:
    url = service_conninfo(make_service().url)

    async def wait_indefinitely(pool: ServicePool, begun: asyncio.Event) -> None:
        begun.set()
        async with pool.connection():
            await asyncio.Event().wait()

    async with ServicePool(url, 1, turn_seconds=5) as pool:
        async with pool.connection():
            begun = asyncio.Event()
            waiting = asyncio.create_task(wait_indefinitely(pool, begun))
            await begun.wait()
            waiting.cancel()
            await asyncio.wait({waiting})
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with pool.connection() as connection:
                await connection.execute("select 1 / 0")
        async with pool.connection() as connection:
            await connection.execute("select 1")


async def test_the_connection_limit_of_the_url_bounds_the_pool(make_service: MakeService) -> None:
    url = replace(service_conninfo(make_service().url), connection_limit=2)
    async with ServicePool(url, 6, turn_seconds=0.05) as pool, pool.connection(), pool.connection():
        with pytest.raises(FatalError, match="2 at most, were in use"):
            async with pool.connection():
                pass


async def test_a_connection_that_was_cut_while_it_was_idle_is_replaced_before_it_is_used(
    make_service: MakeService,
) -> None:
    service = make_service()
    async with open_service(service_conninfo(service.url), 2) as pool:
        async with pool.connection(), pool.connection():
            """Both connections are open."""
        cut_connections(service, allow_new=True)
        for _ in range(3):
            async with pool.connection() as connection:
                await connection.execute("select 1")


async def test_rows_are_inserted_over_a_new_connection_when_the_old_one_is_cut(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service()
    make_inserts_slow(service, 0.3)
    table = await table_of(service, QUICKLY)
    async with open_service(service_conninfo(service.url), 1) as pool:
        inserting = asyncio.create_task(table.insert(pool, [row(1), row(2)], LOG))
        await asyncio.to_thread(wait_until, lambda: is_inserting(service))
        cut_connections(service, allow_new=True)
        inserted = await inserting

    assert inserted.written == 2
    assert "Inserting failed" in caplog.text


async def test_a_postgres_that_gives_no_connection_is_reported_after_the_attempts(
    make_service: MakeService,
) -> None:
    service = make_service()
    table = await table_of(service, QUICKLY)
    async with open_service(impatient(service), 1) as pool:
        async with pool.connection(5) as connection:
            await connection.execute("select 1")
        cut_connections(service, allow_new=False)

        with pytest.raises(FatalError, match="run the partition again") as caught:
            await table.insert(pool, [row(1)], LOG)

    assert "did not take rows (attempt 3, the last)" in str(caught.value)
    assert isinstance(caught.value.__cause__, PoolTimeout)


async def test_after_the_seconds_of_a_retry_no_attempt_begins(make_service: MakeService) -> None:
    service = make_service()
    table = await table_of(service, InsertRetry(attempts=100, seconds=0.05, first_wait_seconds=0.2))
    async with open_service(impatient(service), 1) as pool:
        cut_connections(service, allow_new=False)

        with pytest.raises(FatalError, match="attempt 1, the last"):
            await table.insert(pool, [row(1)], LOG)

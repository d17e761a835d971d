"""The service's database in peace: few sessions, no transaction while HTTP is awaited, time-outs, a brake."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import psycopg
import pytest

from aboutness_assets.database.service.connection import open_service
from aboutness_assets.database.service.replication import replication_lag
from aboutness_assets.database.url import service_conninfo
from aboutness_assets.orchestration.preflight import preflight
from aboutness_assets.pipeline.runs import create_partitions
from aboutness_assets.pipeline.session import open_catalogue
from aboutness_assets.pipeline.tuning import Tuning
from tests.support.backfills import Backfills, sample_songs
from tests.support.clusters import Pair
from tests.support.service_database import SERVICE_ROLE, ServiceDatabase, make_service
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

LOG = logging.getLogger("peace")

SESSIONS = """
select count(*), count(xact_start) from pg_stat_activity
where usename = %s and datname = current_database() and application_name = 'aboutness-assets'
"""


@pytest.mark.parametrize("route", ["chat", "embeddings"])
async def test_no_transaction_is_open_while_an_answer_is_awaited(
    make_service: MakeService, stand_in: StandIn, route: str
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(40)), stand_in, tuning=Tuning(grace_seconds=0))
    stand_in.control({"latency_seconds": {route: 60}})
    seen: list[tuple[int, int]] = []

    def look_until_it_is_awaited() -> None:
        with psycopg.connect(backfills.service.admin_url, autocommit=True) as admin:
            while not backfills.requests()[route]:
                pass
            for _ in range(200):
                [(sessions, open_transactions)] = admin.execute(SESSIONS, [SERVICE_ROLE]).fetchall()
                seen.append((sessions, open_transactions))

    run = asyncio.create_task(backfills.fill())
    try:
        await asyncio.to_thread(look_until_it_is_awaited)
    finally:
        run.cancel()
        await asyncio.wait({run})
    assert all(1 <= sessions <= Tuning().service_connections for sessions, _ in seen)
    # The last statement before the request may be about to commit when it is looked at first.
    assert [open_transactions for _, open_transactions in seen[-100:]] == [0] * 100


async def test_partitions_are_added_while_no_transaction_is_open(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(10)), stand_in)
    seen = []

    def look() -> list[str]:
        with psycopg.connect(backfills.service.admin_url) as admin:
            seen.append(admin.execute(SESSIONS, [SERVICE_ROLE]).fetchall())
        return []

    def add(_: Sequence[str]) -> None:
        look()

    async with open_catalogue(backfills.settings()) as catalogue:
        await create_partitions(catalogue, look, add, LOG)
    assert seen == [[(1, 0)], [(1, 0)]]


@pytest.mark.parametrize(
    ("given", "expected"), [("", "1h 1min"), ("?options=-c%20statement_timeout=5s", "5s 1min")]
)
async def test_sessions_have_time_outs_and_stricter_ones_are_kept(
    service_of_session: ServiceDatabase, given: str, expected: str
) -> None:
    url = service_conninfo(service_of_session.url + given)
    async with open_service(url, 1) as pool, pool.connection() as connection:
        cursor = await connection.execute(
            "select current_setting('statement_timeout') || ' '"
            " || current_setting('idle_in_transaction_session_timeout')"
        )
        assert await cursor.fetchone() == (expected,)


async def test_a_database_that_becomes_slow_limits_the_run_which_says_so_and_finishes(
    make_service: MakeService, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(songs=sample_songs(100))
    backfills = Backfills(service, stand_in, tuning=Tuning(packs_per_embedding=5))
    backfills.arrange(
        "create function dawdle() returns trigger language plpgsql as"
        " $$ begin if (select count(*) from song_aboutness) >= 50 then perform pg_sleep(0.04); end if;"
        " return new; end $$;"
        " create trigger dawdle before insert on song_aboutness for each row execute function dawdle()"
    )
    report = await backfills.fill(max_in_flight=1)
    assert report.songs_written == 100
    assert "Limited by the database" in caplog.text


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A primary and a standby that does not hold up its commits."""
    pair = Pair(tmp_path_factory.mktemp("pair"))
    with psycopg.connect(pair.primary.url(), autocommit=True) as admin:
        admin.execute("alter system set synchronous_standby_names = ''")
        admin.execute("select pg_reload_conf()")
    yield pair
    pair.remove()


@pytest.fixture
async def lagging(pair: Pair, stand_in: StandIn) -> AsyncIterator[tuple[Backfills, psycopg.Connection]]:
    """A service whose standby shows its songs and nothing that comes after them, and that standby."""
    backfills = Backfills(make_service(pair.primary, songs=sample_songs(40)), stand_in)
    with psycopg.connect(pair.primary.url(), autocommit=True) as primary:
        [(position,)] = primary.execute("select pg_current_wal_lsn()").fetchall()
    with psycopg.connect(pair.of_standby(pair.primary.url()), autocommit=True) as standby:
        while standby.execute("select pg_last_wal_replay_lsn() < %s", [position]).fetchone() == (True,):
            pass
        standby.execute("select pg_wal_replay_pause()")
        backfills.settings_of_all_runs["catalogue_url"] = pair.of_standby(backfills.service.url)
        try:
            yield backfills, standby
        finally:
            standby.execute("select pg_wal_replay_resume()")


async def test_songs_are_read_from_a_replica_and_its_lag_costs_nothing(
    lagging: tuple[Backfills, psycopg.Connection], pair: Pair
) -> None:
    backfills, _ = lagging
    written = (await backfills.fill()).songs_written
    # The replica shows no row of them, and a song that only the primary has.
    backfills.arrange("insert into songs values (90001, 'Unseen', 'Nobody')")
    with psycopg.connect(pair.of_standby(backfills.service.admin_url)) as replica:
        assert replica.execute("select count(*) from song_aboutness").fetchone() == (0,)
    backfills.stand_in.reset()
    again = await backfills.fill()

    assert (written, again.songs_written, again.songs_skipped_existing) == (40, 0, 40)
    assert not backfills.requests()["chat"]
    keys: list[str] = []
    await backfills.create_partitions(keys)
    assert keys[-1] == "000000001-000001000"
    findings = {each.check: each for each in await preflight(backfills.settings())}
    assert findings["ABOUTNESS_CATALOGUE_URL"].outcome == "pass"


async def test_a_page_that_a_standby_cancels_is_read_again(pair: Pair, stand_in: StandIn) -> None:
    backfills = Backfills(make_service(pair.primary, songs=sample_songs(40)), stand_in)
    canceled = "select confl_lock from pg_stat_database_conflicts where datname = current_database()"
    standby_url = pair.of_standby(backfills.service.admin_url)

    def disturb_the_read() -> None:
        with psycopg.connect(standby_url, autocommit=True) as standby:
            while not standby.execute("select from pg_stat_activity where wait_event = 'PgSleep'").fetchall():
                pass
            backfills.arrange("alter table songs alter column title set storage extended")
            while standby.execute(canceled).fetchone() == (0,):
                pass

    with psycopg.connect(pair.of_standby(pair.primary.url()), autocommit=True) as standby:
        standby.execute("alter system set max_standby_streaming_delay = 0")
        standby.execute("select pg_reload_conf()")
    disturbed = asyncio.create_task(asyncio.to_thread(disturb_the_read))
    report = await backfills.fill(
        catalogue_url=pair.of_standby(backfills.service.url),
        songs_query="select song_id, title, artist from songs where pg_sleep(0.03) is not null",
    )
    await disturbed
    assert report.songs_written == 40


async def test_the_preflight_names_a_replica_that_cannot_be_used(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(3)), stand_in)
    settings = backfills.settings(catalogue_url="postgresql://x:hidden-word@127.0.0.1:1/none")
    failed = [each for each in await preflight(settings) if each.outcome == "fail"]
    assert [each.check for each in failed] == ["ABOUTNESS_CATALOGUE_URL"]
    assert "ABOUTNESS_CATALOGUE_URL) cannot be used" in str(failed[0])
    assert "hidden-word" not in str(failed[0])


async def test_the_lag_of_a_standby_is_seen_by_a_role_that_may_monitor(
    lagging: tuple[Backfills, psycopg.Connection], pair: Pair
) -> None:
    backfills, _ = lagging
    url = service_conninfo(backfills.service.url)
    async with open_service(url, 1) as pool:
        backfills.arrange("insert into songs values (90002, 'Unseen', 'Nobody')")
        assert await replication_lag(pool) is None
        backfills.arrange(f"grant pg_monitor to {SERVICE_ROLE}")
        try:
            while not await replication_lag(pool):  # until the standby has reported once
                pass
        finally:
            backfills.arrange(f"revoke pg_monitor from {SERVICE_ROLE}")

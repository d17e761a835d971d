"""Postgres stopped, killed, restarted, cut off and full under a run, the service's and our own."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.operations.connection import Operations, open_operations
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.journal import Intent, Journal, Orphaned
from aboutness_assets.database.operations.ledger import PostgresLedger
from aboutness_assets.database.service.aboutness_table import InsertRetry
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import Song
from aboutness_assets.money.ledger import REFUSED, Charge, Outcome
from aboutness_assets.pipeline.tuning import Tuning
from aboutness_local.postgres import EmbeddedPostgres
from tests.support.backfills import Backfills, wait_until
from tests.support.kills import Accounts, Campaign, Forks, waiting_sessions
from tests.support.money import metered
from tests.support.service_database import ServiceDatabase
from tests.support.service_database import make_service as make_on
from tests.support.stand_in import StandIn

BeginCampaign = Callable[..., Awaitable[Campaign]]
Tell = Callable[..., None]

TELLS_WHAT_TO_DO = re.compile(r"\b[Rr]un (it|the partition) again\b|; start it|; check the URL")

SMALL_DISK_MIB = 8

SOON = Tuning(insert_retry=InsertRetry(first_wait_seconds=0.01))
"""Inserts are tried again after hundredths of a second instead of seconds."""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    process = Forks(tmp_path_factory.mktemp("runs"))
    yield process
    process.end()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """Two servers of these tests alone."""
    first, second = (
        EmbeddedPostgres(tmp_path_factory.mktemp(name), {"fsync": "off"}).start()
        for name in ("first", "second")
    )
    yield first, second
    for server in (first, second):
        server.reset()


@pytest.fixture
def begin_campaign(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres], stand_in: StandIn, forks: Forks
) -> BeginCampaign:
    async def begin(*, apart: bool) -> Campaign:
        """Apart: our own database lies on the second server."""
        stand_in.control(metered(latency_seconds={"chat": 0.2, "embeddings": 0.1}))
        service = make_on(servers[0])
        if apart:
            service = replace(service, ops_url=make_on(servers[1]).ops_url)
        return await Campaign.begin(Backfills(service, stand_in), forks, songs=60)

    return begin


def restart(server: EmbeddedPostgres, how: str) -> None:
    """Let a server be gone and come back."""
    if how == "kill":
        assert server.postmaster_pid is not None
        os.kill(server.postmaster_pid, signal.SIGKILL)
    else:
        server.stop(how)  # type: ignore[arg-type]
    server.start()


def cut(server: EmbeddedPostgres) -> None:
    """End every connection to a server but one's own."""
    with psycopg.connect(server.url(), autocommit=True) as administrator:
        administrator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )


async def strike(campaign: Campaign, packs: int, fault: Callable[[], None]) -> dict[str, Any]:
    """One run, struck by a fault once so many packs were asked for; gives its outcome."""
    run = asyncio.create_task(campaign.attempt())
    await asyncio.to_thread(wait_until, lambda: len(campaign.backfills.packs()) >= packs)
    await asyncio.to_thread(fault)
    run_id, outcome = await run
    campaign.note_end(run_id, outcome)
    return outcome


async def hold(campaign: Campaign, where: str, tell: Tell, strikes: int = 1) -> Accounts:
    accounts = await asyncio.to_thread(campaign.finish)
    tell(kind="kill", where=where, **{**asdict(accounts), "kills": strikes})
    assert accounts.answers_received == accounts.used + accounts.replayed
    assert accounts.asked_twice == 0
    for fault in campaign.faults:
        assert TELLS_WHAT_TO_DO.search(fault), fault
        assert "\n" not in fault
    return accounts


WHERE = {"both": (False, 0), "the service's": (True, 0), "our own": (True, 1)}
"""Whose Postgres: whether they lie apart, and the number of the server that is struck."""


@pytest.mark.thorough
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_a_postgres_that_is_restarted_under_a_run(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    begin_campaign: BeginCampaign,
    reliability_result: Tell,
    where: str,
    how: str,
) -> None:
    apart, number = WHERE[where]
    campaign = await begin_campaign(apart=apart)
    await strike(campaign, 3, lambda: restart(servers[number], how))
    accounts = await hold(campaign, f"{where} Postgres restarted ({how})", reliability_result)
    # The answers that came meanwhile were held in memory until they could be kept.
    assert accounts.uncertain == 0
    assert campaign.faults == [], "a restart costs no run"


STRIKES = 5
STRIKES_OF_A_SOAK = 30


@pytest.mark.thorough
@pytest.mark.parametrize("where", WHERE)
async def test_connections_that_are_cut_again_and_again(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    begin_campaign: BeginCampaign,
    reliability_result: Tell,
    where: str,
) -> None:
    apart, number = WHERE[where]
    campaign = await begin_campaign(apart=apart)
    rng = random.Random(where)
    for _ in range(STRIKES):
        await strike(
            campaign, len(campaign.backfills.packs()) + rng.randint(0, 3), lambda: cut(servers[number])
        )
        campaign.add_songs(20)
    await hold(campaign, f"{where} Postgres cuts all connections", reliability_result, STRIKES)


@pytest.mark.soak
@pytest.mark.parametrize("where", WHERE)
async def test_many_strikes_of_every_kind(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    begin_campaign: BeginCampaign,
    reliability_result: Tell,
    where: str,
) -> None:
    apart, number = WHERE[where]
    campaign = await begin_campaign(apart=apart)
    rng = random.Random(where)
    for _ in range(STRIKES_OF_A_SOAK):
        how = rng.choice(["fast", "immediate", "kill", "cut"])
        fault = partial(cut, servers[number]) if how == "cut" else partial(restart, servers[number], how)
        await strike(campaign, len(campaign.backfills.packs()) + rng.randint(0, 5), fault)
        campaign.add_songs(30)
    await hold(campaign, f"{where} Postgres struck at random", reliability_result, STRIKES_OF_A_SOAK)


async def test_a_run_that_loses_its_lock_stops_and_leaves_the_range_to_the_next(
    begin_campaign: BeginCampaign, reliability_result: Tell
) -> None:
    campaign = await begin_campaign(apart=False)
    holder = campaign.start()
    wait_until(lambda: len(campaign.backfills.packs()) >= 3)
    heir = campaign.start()
    with psycopg.connect(campaign.backfills.service.ops_url, autocommit=True) as connection:
        wait_until(lambda: bool(waiting_sessions(connection)))
        connection.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
            " and mode = 'ExclusiveLock' and database ="
            " (select oid from pg_database where datname = current_database())"
        )
    for run in (holder, heir):
        run.wait()
        campaign.note_end(run.run_id, run.outcome())

    [fault] = campaign.faults
    assert "lock" in fault
    assert len(campaign.reports) == 1
    await hold(campaign, "the lock of a range lost", reliability_result)


@pytest.mark.thorough
@pytest.mark.parametrize("where", WHERE)
async def test_a_postgres_that_stays_away(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    begin_campaign: BeginCampaign,
    reliability_result: Tell,
    where: str,
) -> None:
    apart, number = WHERE[where]
    campaign = await begin_campaign(apart=apart)
    campaign.backfills.tuning = replace(SOON, operations_retry_seconds=1.0)
    run = asyncio.create_task(
        campaign.attempt(database_url=f"{campaign.backfills.service.url}?pool_timeout=1")
    )
    await asyncio.to_thread(wait_until, lambda: len(campaign.backfills.packs()) >= 3)
    await asyncio.to_thread(servers[number].stop, "immediate")

    run_id, outcome = await run

    assert "fault" in outcome
    await asyncio.to_thread(servers[number].start)
    campaign.note_end(run_id, outcome)
    await hold(campaign, f"{where} Postgres stays away", reliability_result)


@pytest.fixture(scope="module")
def small_disk(servers: tuple[EmbeddedPostgres, EmbeddedPostgres]) -> Iterator[str]:
    """The name of a tablespace on the first server that lies on a disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    directory = tempfile.mkdtemp()  # pytest's own are closed to the user that Postgres runs as
    Path(directory).chmod(0o755)
    options = f"size={SMALL_DISK_MIB}m,mode=0755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        Path(directory).rmdir()
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        location = Path(directory) / "tablespace"
        location.mkdir()
        owner = servers[0].directory.joinpath("data").stat()
        os.chown(location, owner.st_uid, owner.st_gid)
        with psycopg.connect(servers[0].url(), autocommit=True) as administrator:
            administrator.execute(
                sql.SQL("create tablespace small location {}").format(sql.Literal(str(location)))
            )
        yield "small"
        servers[0].stop("immediate")
    finally:
        subprocess.run(["umount", directory], check=True)
        Path(directory).rmdir()


@contextmanager
def full(url: str, table: str, tablespace: str) -> Iterator[None]:
    """A table that lies on a full disk; there is room again afterwards."""
    with psycopg.connect(url, autocommit=True) as administrator:
        administrator.execute("set event_triggers = off")
        administrator.execute(f"alter table {table} set tablespace {tablespace}".encode())
        administrator.execute(f"create table filler (bytes bytea) tablespace {tablespace}".encode())
        administrator.execute("alter table filler alter bytes set storage external")
        for size in (2**20, 2**13, 1):
            with pytest.raises(psycopg.errors.DiskFull):
                while True:
                    administrator.execute(
                        "insert into filler values (convert_to(repeat('x', %s), 'UTF8'))", [size]
                    )
        yield
        administrator.execute("drop table filler")
        administrator.execute("checkpoint")


async def test_rows_for_which_the_disk_has_no_room(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    begin_campaign: BeginCampaign,
    small_disk: str,
    reliability_result: Tell,
) -> None:
    campaign = await begin_campaign(apart=False)
    campaign.backfills.tuning = SOON
    with full(campaign.backfills.service.admin_url, "song_aboutness", small_disk):
        campaign.note_end(*await campaign.attempt())
        [fault] = campaign.faults
        assert "No space left on device" in fault

    accounts = await hold(campaign, "disk of song_aboutness full", reliability_result)

    assert accounts.replayed > 0
    assert (accounts.uncertain, len(campaign.backfills.packs())) == (0, 12)


async def test_answers_for_which_the_disk_has_no_room_wait_until_it_has(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    begin_campaign: BeginCampaign,
    small_disk: str,
    reliability_result: Tell,
) -> None:
    campaign = await begin_campaign(apart=False)
    url = servers[0].url(psycopg.conninfo.conninfo_to_dict(campaign.backfills.service.ops_url)["dbname"])  # type: ignore[arg-type]
    with full(url, "aboutness_ops.chat_request", small_disk):
        run = asyncio.create_task(campaign.attempt())
        await asyncio.to_thread(wait_until, lambda: no_room_was_found(servers[0]))
    campaign.note_end(*await run)

    accounts = await hold(campaign, "disk of the journal full", reliability_result)

    assert campaign.faults == []
    assert accounts.uncertain == accounts.replayed == 0


def no_room_was_found(server: EmbeddedPostgres) -> bool:
    log = (server.directory / "data" / "server.log").read_text()
    return bool(re.search("No space left on device.*\n.*\n.*chat_request", log))


class LosesConnections:
    """A pool whose connections are lost right after their commit, before anybody hears of it.

    lost: how many in a row, after the first ``kept`` ones.
    """

    def __init__(self, pool: AsyncConnectionPool, lost: int, kept: int = 0) -> None:
        self._pool = pool
        self._lost = lost
        self._kept = kept

    @asynccontextmanager
    async def connection(self, seconds: float) -> AsyncIterator[psycopg.AsyncConnection]:
        async with self._pool.connection(seconds) as connection:
            yield connection
        if self._kept > 0:
            self._kept -= 1
        elif self._lost > 0:
            self._lost -= 1
            raise psycopg.OperationalError("the connection is lost")

    async def check(self) -> None:
        """Nothing is broken."""


@pytest.fixture
async def own_pool(make_service: Callable[..., ServiceDatabase]) -> AsyncIterator[AsyncConnectionPool]:
    """Connections to our own Postgres, its schema up to date."""
    url = make_service().ops_url
    async with open_operations(url):
        pass
    async with AsyncConnectionPool(url, open=False, kwargs={"autocommit": True}) as pool:
        yield pool


@dataclass
class Books:
    """Journal and ledger of one run, of which some commits are not heard of."""

    operations: Operations
    journal: Journal
    ledger: PostgresLedger

    async def intend(self, song_id: int = 1, usd: float = 1.0) -> Intent | None:
        """Record an intent; 0.125 dollars are promised beside it."""
        songs = [Song(song_id, "Imagine", "John Lennon")]
        charge = Charge("chat", "model", "standard", usd)
        return await self.journal.intend(
            songs, "pack", charge, prompt_hash="hash", reasoning_effort="none", promised_usd=0.125
        )

    async def answered(self, intent: Intent | None) -> None:
        """Keep an answer that cost 0.25 dollars."""
        assert intent is not None
        await self.journal.answered(intent.request_id, intent.attempt_id, b"answer", BILLED)


BILLED = Outcome("billed", Usage(1, 1), 0.25, "standard")
DRAWS = 2
"""Transactions before the first intent: ids for requests and for attempts."""


def books_on(
    pool: AsyncConnectionPool, lost: int = 0, max_usd: float = 10.0, kept: int = 0, run_id: str = "run"
) -> Books:
    """Books of which ``lost`` commits are not heard of, after the first ``kept`` ones."""
    losing: Any = LosesConnections(pool, lost, kept)
    operations = Operations(losing)
    run = RangeRun("table", "range", run_id, "budget")
    ledger = PostgresLedger(operations, run, IdBlocks(operations, "attempt"), max_usd)
    journal = Journal(operations, run, "integer", ledger, IdBlocks(operations, "chat_request"))
    return Books(operations, journal, ledger)


async def fetch(pool: AsyncConnectionPool, query: str) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


ENTRIES = "select request_id, answer from aboutness_ops.chat_request order by request_id"
ATTEMPTS = "select attempt_id, state from aboutness_ops.attempt order by attempt_id"
SPENT = "select billed_usd::float8, uncertain_usd::float8, reserved_usd::float8 from aboutness_ops.budget"


def ids(intents: Sequence[Intent | None]) -> list[Intent]:
    return [intent for intent in intents if intent is not None]


async def test_an_entry_whose_commit_was_not_heard_of_is_written_and_booked_once(
    own_pool: AsyncConnectionPool,
) -> None:
    [answered] = ids([await books_on(own_pool, lost=2, kept=DRAWS).intend()])
    await books_on(own_pool, lost=2).answered(answered)
    [refused] = ids([await books_on(own_pool, lost=1, kept=DRAWS).intend()])
    await books_on(own_pool, lost=1).ledger.close(refused.attempt_id, REFUSED)
    await books_on(own_pool, lost=1).journal.unanswered(refused.request_id, maybe_billed=False)

    assert await fetch(own_pool, ENTRIES) == [(answered.request_id, b"answer"), (refused.request_id, None)]
    assert await fetch(own_pool, ATTEMPTS) == [
        (answered.attempt_id, "billed"),
        (refused.attempt_id, "refused"),
    ]
    assert await fetch(own_pool, SPENT) == [(0.25, 0.0, 0.125)]


async def test_of_entries_that_share_a_commit_that_was_not_heard_of_each_is_booked_once(
    own_pool: AsyncConnectionPool,
) -> None:
    asking, answering = books_on(own_pool, lost=2, kept=DRAWS), books_on(own_pool, lost=2)

    answered = ids(await asyncio.gather(*(asking.intend(song_id) for song_id in range(3))))
    await asyncio.gather(*(answering.answered(intent) for intent in answered))

    assert await fetch(own_pool, ENTRIES) == [(intent.request_id, b"answer") for intent in answered]
    assert await fetch(own_pool, SPENT) == [(0.75, 0.0, 0.375)]
    assert await fetch(own_pool, "select count(distinct xmin::text) from aboutness_ops.chat_request") == [
        (1,)
    ]


async def test_beside_an_entry_that_the_cap_forbids_the_others_are_booked_once(
    own_pool: AsyncConnectionPool,
) -> None:
    books = books_on(own_pool, lost=3, max_usd=2.0, kept=DRAWS)

    first, second, third = await asyncio.gather(
        *(books.intend(song_id, usd) for song_id, usd in enumerate((1.0, 5.0, 0.5)))
    )

    assert second is None
    assert await fetch(own_pool, ENTRIES) == [(intent.request_id, None) for intent in ids([first, third])]
    assert await fetch(own_pool, SPENT) == [(0.0, 0.0, 1.75)]


@pytest.mark.parametrize("kept", [0, 1])
async def test_a_settlement_whose_commit_was_not_heard_of_still_reports_what_it_settled(
    own_pool: AsyncConnectionPool, kept: int
) -> None:
    await books_on(own_pool).intend(usd=0.5)
    heir = books_on(own_pool, lost=1, kept=kept, run_id="heir").journal

    assert await heir.settle_orphaned_requests() == Orphaned(1, 0.5)
    later = books_on(own_pool, run_id="later").journal
    assert await later.settle_orphaned_requests() == Orphaned(0, 0.0)
    assert await fetch(own_pool, SPENT) == [(0.0, 0.5, 0.0)]


async def test_an_answer_is_kept_although_its_run_is_stopped_while_the_journal_waits(
    own_pool: AsyncConnectionPool,
) -> None:
    books = books_on(own_pool)
    [intent] = ids([await books.intend()])
    with psycopg.connect(str(own_pool.conninfo)) as connection:
        connection.execute("select from aboutness_ops.chat_request for update")
        keeping = asyncio.create_task(books.answered(intent))
        await asyncio.to_thread(wait_until, lambda: bool(waiting_sessions(connection)))
        keeping.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await keeping
    await books.operations.drain()
    assert await fetch(own_pool, ENTRIES) == [(intent.request_id, b"answer")]
    assert await fetch(own_pool, SPENT) == [(0.25, 0.0, 0.125)]

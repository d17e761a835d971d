"""What is left of a run that is killed, interrupted or cut off from its databases, and what the next does."""

import asyncio
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from aboutness_assets.domain.errors import FatalError
from tests.support.backfills import DEADLINE_SECONDS, Backfills, sample_songs, valid, wait_until
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

ANSWERED = "select count(*) from aboutness_ops.chat_request where answered_at is not null"
ASKED = "select count(*) from aboutness_ops.chat_request"
UNCERTAIN_CHATS = (
    "select count(*) from aboutness_ops.spending where kind = 'chat' and state in ('uncertain', 'in_flight')"
)


def counted(backfills: Backfills, query: str) -> int:
    """A count in our own database, 0 before its schema exists."""
    try:
        [(number,)] = backfills.journal(query)
    except psycopg.errors.UndefinedTable:
        return 0
    return int(number)


@contextmanager
def ended_afterwards(run: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield run
    finally:
        run.kill()
        run.communicate()


def kill(run: subprocess.Popen[str]) -> None:
    run.send_signal(signal.SIGKILL)
    run.wait(DEADLINE_SECONDS)


async def test_answers_kept_by_a_killed_run_are_used_and_only_the_others_asked_again(
    make_service: MakeService, stand_in: StandIn
) -> None:
    songs = sample_songs(60)
    backfills = Backfills(make_service(songs=songs), stand_in)
    stand_in.control(
        {"chat": {"script": [None, "hang"] * 3}, "embeddings": {"script": [None] + ["hang"] * 10}}
    )
    with ended_afterwards(backfills.start_process()) as run:
        wait_until(
            lambda: (
                (counted(backfills, ASKED), counted(backfills, ANSWERED), len(backfills.packs())) == (6, 3, 6)
            ),
            run,
        )
        kill(run)
    received = stand_in.requests()["requests"]
    hung = {
        (song["title"], song["artist"])
        for request in received
        if request["fault"] == "hang"
        for song in request.get("songs", [])
    }
    assert backfills.rows() == {}
    stand_in.reset()

    report = await backfills.fill()

    assert (report.answers_replayed, report.uncertain_requests) == (3, 3)
    assert (report.batch_requests, report.songs_written, report.failed) == (3, 60, [])
    assert backfills.times_asked().keys() == hung
    assert len(hung) == 30
    assert all(map(valid, backfills.texts().values()))
    assert counted(backfills, f"{ASKED} where settled_at is null") == 0
    stand_in.reset()
    third = await backfills.fill()
    assert backfills.requests() == {}
    assert (third.uncertain_requests, third.answers_replayed) == (0, 0)


async def test_rows_that_a_killed_run_wrote_stay_and_no_answer_is_paid_twice(
    make_service: MakeService, stand_in: StandIn
) -> None:
    songs = sample_songs(200)
    backfills = Backfills(make_service(songs=songs), stand_in)
    stand_in.control({"latency_seconds": {"chat": 0.05, "embeddings": 0.05}})
    with ended_afterwards(backfills.start_process(max_in_flight=2)) as run:
        wait_until(lambda: len(backfills.rows()) >= 40, run)
        kill(run)
    rows = backfills.rows()
    answered = {
        tuple(song)
        for (songs_of_request,) in backfills.journal(
            "select songs from aboutness_ops.chat_request where answered_at is not null"
        )
        for song in songs_of_request
    }
    stand_in.reset()

    report = await backfills.fill()

    after = backfills.rows()
    assert {song_id: after[song_id] for song_id in rows} == rows
    assert len(after) == 200
    assert report.songs_skipped_existing == len(rows)
    assert backfills.times_asked().keys().isdisjoint(answered)
    assert sum(backfills.times_asked().values()) == 200 - len(answered)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_run_ends_soon_and_keeps_the_answers_in_flight(
    make_service: MakeService, stand_in: StandIn, number: signal.Signals
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(60)), stand_in)
    stand_in.control({"latency_seconds": {"chat": 0.5}})
    with ended_afterwards(backfills.start_process(interruptible=True)) as run:
        wait_until(lambda: len(backfills.packs()) == 6, run)
        run.send_signal(number)
        _, errors = run.communicate(timeout=20)
    assert run.returncode != 0
    assert "DagsterExecutionInterruptedError" in errors
    assert counted(backfills, ANSWERED) == 6
    stand_in.reset()

    report = await backfills.fill()

    assert backfills.packs() == []
    assert report.songs_written == 60 - report.songs_skipped_existing
    # A request for vectors of the first answer may be under way at the signal; those are not awaited.
    assert counted(backfills, UNCERTAIN_CHATS) == 0
    assert len(backfills.rows()) == 60


async def test_an_interrupted_run_does_not_wait_for_a_provider_that_never_answers(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(20)), stand_in)
    stand_in.control({"chat": {"script": ["hang"] * 2}})
    with ended_afterwards(backfills.start_process(interruptible=True)) as run:
        wait_until(lambda: len(backfills.packs()) == 2, run)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=20)
    assert "DagsterExecutionInterruptedError" in errors
    stand_in.reset()

    report = await backfills.fill()

    assert report.uncertain_requests == 2
    assert len(backfills.rows()) == 20


def cut_off(url: str) -> None:
    """End every connection to a database but one's own."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


async def test_rows_are_inserted_when_the_services_postgres_is_back(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(30)), stand_in)
    stand_in.control({"latency_seconds": {"embeddings": 0.3}})
    run = asyncio.create_task(backfills.fill())
    await asyncio.to_thread(wait_until, lambda: backfills.requests()["embeddings"] >= 2)

    cut_off(backfills.service.admin_url)

    report = await run
    assert (report.songs_written, report.failed) == (30, [])
    assert len(backfills.rows()) == 30


async def test_a_run_that_loses_our_own_postgres_stops_with_a_sentence_and_the_next_one_goes_on(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(30)), stand_in)
    stand_in.control({"chat": {"script": [None, "hang", "hang"]}})
    run = asyncio.create_task(backfills.fill(request_timeout=1))
    await asyncio.to_thread(
        wait_until, lambda: (len(backfills.packs()), counted(backfills, ANSWERED)) == (3, 1)
    )

    cut_off(backfills.service.ops_url)
    with psycopg.connect(backfills.service.ops_url, autocommit=True) as admin:
        admin.execute("alter table aboutness_ops.chat_request rename to gone")

    with pytest.raises(FatalError, match="run it again"):
        await run
    with psycopg.connect(backfills.service.ops_url, autocommit=True) as admin:
        admin.execute("alter table aboutness_ops.gone rename to chat_request")
    report = await backfills.fill()
    assert report.failed == []
    assert len(backfills.rows()) == 30


async def test_a_cancelled_run_leaves_the_range_to_the_next_one(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(10)), stand_in)
    stand_in.control({"latency_seconds": {"chat": 0.3}})
    run = asyncio.create_task(backfills.fill())
    await asyncio.to_thread(wait_until, lambda: bool(backfills.packs()))

    run.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run
    report = await backfills.fill()
    assert len(backfills.packs()) == 1
    assert (report.songs_written, report.answers_replayed) == (10, 1)

"""SIGKILL at random moments and at each commit point: nothing lost, only the uncertain paid twice."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import psycopg
import pytest

from tests.support.backfills import Backfills, wait_until
from tests.support.kills import (
    COMMIT_POINTS,
    Accounts,
    Campaign,
    CommitPoint,
    Forks,
    KilledRun,
    close_gate,
    gated,
    open_gate,
    wait_for_commits,
    waiting_sessions,
    watched,
)
from tests.support.money import metered
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

BeginCampaign = Callable[..., Awaitable[Campaign]]
Tell = Callable[..., None]

LONGEST_DELAY_SECONDS = 0.15
"""Between the request after which a run is to die and its death; a request takes a third of it."""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    process = Forks(tmp_path_factory.mktemp("runs"))
    yield process
    process.end()


@pytest.fixture
def begin_campaign(
    make_service: Callable[..., ServiceDatabase], stand_in: StandIn, forks: Forks
) -> BeginCampaign:
    async def begin(songs: int) -> Campaign:
        stand_in.control(metered(latency_seconds={"chat": 0.05, "embeddings": 0.02}))
        return await Campaign.begin(Backfills(make_service(), stand_in), forks, songs)

    return begin


@pytest.fixture
def tell(reliability_result: Tell, money_result: Tell) -> Tell:
    def tell(**result: Any) -> None:
        reliability_result(**result)
        money_result(**result)

    return tell


def hold(accounts: Accounts, where: str, tell: Tell) -> None:
    tell(kind="kill", where=where, **asdict(accounts))
    assert accounts.answers_received == accounts.used + accounts.replayed
    assert accounts.asked_twice == 0


def kill_at_random(campaign: Campaign, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    while campaign.kills < kills:
        asked, reports = len(campaign.backfills.packs()), len(campaign.reports)
        run = campaign.start()
        more = rng.randint(0, 8)
        wait_until(lambda: run.has_ended() or len(campaign.backfills.packs()) >= asked + more)  # noqa: B023
        time.sleep(rng.uniform(0, LONGEST_DELAY_SECONDS))
        campaign.kill(run)
        if len(campaign.reports) > reports:
            campaign.add_songs(60)


@pytest.mark.parametrize("seed", range(1))
async def test_runs_killed_at_random_moments(begin_campaign: BeginCampaign, tell: Tell, seed: int) -> None:
    campaign = await begin_campaign(60)
    kill_at_random(campaign, 14, seed)
    hold(campaign.finish(), "at a random moment", tell)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
async def test_many_runs_killed_at_random_moments(
    begin_campaign: BeginCampaign, tell: Tell, seed: int
) -> None:
    campaign = await begin_campaign(60)
    kill_at_random(campaign, 40, seed)
    hold(campaign.finish(), "at a random moment", tell)


def kill_after_commits(campaign: Campaign, point: CommitPoint, numbers: Iterable[int]) -> None:
    with watched(campaign.backfills, point) as commits:
        for number in numbers:
            run = campaign.start()
            wait_for_commits(commits, number, run)
            campaign.kill(run)
            campaign.wait_until_nobody_is_connected()
            list(commits.notifies(timeout=0))


@pytest.mark.thorough
@pytest.mark.parametrize("point", COMMIT_POINTS, ids=lambda point: point.name)
async def test_runs_killed_right_after_a_commit(
    begin_campaign: BeginCampaign, tell: Tell, point: CommitPoint
) -> None:
    campaign = await begin_campaign(60)
    kill_after_commits(campaign, point, [1, 1 if point.name == "failed song" else 2, 1])
    hold(campaign.finish(), f"after the commit of {point.name}", tell)


@pytest.mark.soak
@pytest.mark.parametrize("point", COMMIT_POINTS, ids=lambda point: point.name)
async def test_many_runs_killed_right_after_a_commit(
    begin_campaign: BeginCampaign, tell: Tell, point: CommitPoint
) -> None:
    campaign = await begin_campaign(60)
    rng = random.Random(point.name)
    for _ in range(4):
        kill_after_commits(
            campaign, point, [1 if point.name == "failed song" else rng.randint(1, 3) for _ in range(4)]
        )
        campaign.add_songs(60)
    hold(campaign.finish(), f"after the commit of {point.name}", tell)


def kill_before_a_commit(campaign: Campaign, point: CommitPoint, requests: int) -> None:
    """Kill a run whose session waits just before a commit, once so many requests more were made."""
    with gated(campaign.backfills, point) as gate:
        run = start_up_to_the_gate(campaign, gate, requests)
        campaign.kill(run)
        open_gate(gate)
    campaign.wait_until_nobody_is_connected()


def kill_before_a_commit_and_start_the_next(campaign: Campaign, point: CommitPoint, requests: int) -> None:
    """As above, but the session of the dead run is still at work when the next run begins."""
    with gated(campaign.backfills, point) as gate:
        dead = start_up_to_the_gate(campaign, gate, requests)
        campaign.kill(dead)
        left = waiting_sessions(gate)
        heir = campaign.start()
        wait_until(lambda: heir.has_ended() or bool(waiting_sessions(gate) - left))
        open_gate(gate)
        heir.finish()
        campaign.note_end(heir.run_id, heir.outcome())


def start_up_to_the_gate(campaign: Campaign, gate: psycopg.Connection, requests: int) -> KilledRun:
    enough = len(campaign.backfills.packs()) + requests
    if not requests:
        close_gate(gate)
    run = campaign.start()
    wait_until(lambda: run.has_ended() or len(campaign.backfills.packs()) >= enough)
    if requests:
        close_gate(gate)
    wait_until(lambda: run.has_ended() or bool(waiting_sessions(gate)))
    return run


@pytest.mark.thorough
@pytest.mark.parametrize("point", COMMIT_POINTS, ids=lambda point: point.name)
async def test_runs_killed_just_before_a_commit(
    begin_campaign: BeginCampaign, tell: Tell, point: CommitPoint
) -> None:
    campaign = await begin_campaign(60)
    kill_before_a_commit(campaign, point, requests=0 if point.name == "failed song" else 3)
    kill_before_a_commit_and_start_the_next(campaign, point, requests=0)
    hold(campaign.finish(), f"before the commit of {point.name}", tell)


@pytest.mark.soak
@pytest.mark.parametrize("point", COMMIT_POINTS, ids=lambda point: point.name)
async def test_many_runs_killed_just_before_a_commit(
    begin_campaign: BeginCampaign, tell: Tell, point: CommitPoint
) -> None:
    campaign = await begin_campaign(60)
    rng = random.Random(point.name)
    for _ in range(4):
        kill_before_a_commit(campaign, point, rng.randint(0, 8))
        kill_before_a_commit_and_start_the_next(campaign, point, rng.randint(0, 3))
        campaign.add_songs(60)
    hold(campaign.finish(), f"before the commit of {point.name}", tell)


async def test_two_runs_over_one_range_at_once_ask_everything_once(
    begin_campaign: BeginCampaign, tell: Tell
) -> None:
    campaign = await begin_campaign(60)
    for run in [campaign.start(), campaign.start()]:
        run.finish()
        campaign.note_end(run.run_id, run.outcome())
    assert sorted(report["songs_written"] for report in campaign.reports) == [0, 60]
    assert sum(report["batch_requests"] for report in campaign.reports) == 12
    hold(campaign.finish(), "two runs at once, no kill", tell)


async def test_a_run_that_waits_for_its_range_goes_on_when_the_holder_is_killed(
    begin_campaign: BeginCampaign, tell: Tell
) -> None:
    campaign = await begin_campaign(60)
    [answer_kept] = [point for point in COMMIT_POINTS if point.name == "answer"]
    with gated(campaign.backfills, answer_kept) as gate:
        holder = start_up_to_the_gate(campaign, gate, requests=0)
        at_the_gate = waiting_sessions(gate)
        heir = campaign.start()
        wait_until(lambda: bool(waiting_sessions(gate) - at_the_gate))
        campaign.kill(holder)
        open_gate(gate)
        report = heir.finish()

    campaign.note_end(heir.run_id, heir.outcome())
    assert holder.run_id in campaign.ended_early
    assert report["songs_written"] == 60
    hold(campaign.finish(), "the holder of a range that another run waits for", tell)

"""How far a backfill is: one truth over all its runs, however they follow each other and end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from aboutness_assets.database.operations.run_progress import BackfillState, Outcome, RunProgress
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.pipeline.backfill_progress import LEAST_SECONDS, SHARE, Budget, songs_left
from aboutness_assets.pipeline.progress import RunFigures
from aboutness_assets.pipeline.report import dollars
from aboutness_assets.pipeline.runs import fill_first_songs, fill_ranges
from tests.support.backfills import LOG, Backfills, sample_songs, wait_until
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

A, B, C, D = KEYS = [f"{first:09}-{first + 9:09}" for first in range(1, 40, 10)]

_numbers = count(1)


@dataclass
class Told:
    """What an audience was told of one run."""

    backfill_id: str
    keys: Sequence[str] | None = None
    runs: list[tuple[RunFigures, Outcome | None]] = field(default_factory=list)
    backfills: list[BackfillState] = field(default_factory=list)

    def range_keys(self) -> Sequence[str] | None:
        return self.keys

    def tell(
        self, run: RunFigures, outcome: Outcome | None, backfill: BackfillState | None, budget: Budget
    ) -> None:
        self.runs.append((run, outcome))
        self.backfills += [] if backfill is None else [backfill]


@pytest.fixture
def backfills(make_service: MakeService, stand_in: StandIn) -> Backfills:
    """Forty songs in four ranges, and five in none of them."""
    return Backfills(make_service(songs=sample_songs(45)), stand_in)


async def fill(backfills: Backfills, told: Told, keys: Sequence[str], **overrides: Any) -> str:
    run_id = f"told run {next(_numbers)}"
    async with backfills.session(**overrides) as session:
        await fill_ranges(session, keys, run_id, LOG, lambda *_: None, told)
    return run_id


async def test_two_runs_at_once_and_one_afterward_share_one_truth(
    backfills: Backfills, stand_in: StandIn
) -> None:
    [(poisoned,)] = backfills.look("select title from songs where song_id = 15")
    stand_in.control({"poison": {poisoned: "refusal"}})
    first, second, third = (Told("spring", KEYS) for _ in range(3))
    await asyncio.gather(fill(backfills, first, [A]), fill(backfills, second, [B]))

    after_two = max(first.backfills[-1], second.backfills[-1], key=lambda state: state.observations)
    assert (after_two.runs, after_two.running, after_two.ranges) == (2, [], 4)
    assert (after_two.songs, songs_left(after_two), after_two.failed) == (40, 20, 1)
    assert (after_two.written, after_two.catalogue_songs) == (19, 45)

    await fill(backfills, third, [C, D])

    state = third.backfills[-1]
    assert (state.songs, songs_left(state), state.failed, state.written) == (40, 0, 1, 39)
    with_row = (state.catalogue_with_row or 0) + state.all_written_since
    assert (state.catalogue_songs, with_row, state.catalogue_failed) == (45, 39, 1)
    [(usd,)] = backfills.journal("select sum(usd)::float8 from aboutness_ops.spending")
    assert state.usd == pytest.approx(usd)
    assert state.budget_usd == pytest.approx(usd)
    for told in (first, second, third):
        run, outcome = told.runs[-1]
        assert (outcome, run.left, run.done) == ("done", 0, run.songs)
        assert told.runs[0][1] is None
    assert sum(run.usd or 0 for run, _ in (told.runs[-1] for told in (first, second, third))) == (
        pytest.approx(usd)
    )
    # Each observation was made by one run.
    made = sum(len(told.backfills) for told in (first, second, third))
    assert made == state.observations + 1
    # The row that a person of the service adds is counted when the next run ends.
    backfills.arrange("delete from song_aboutness where song_id = 1")
    again = Told("spring", KEYS)
    stand_in.reset()
    await fill(backfills, again, [A, B])
    assert (songs_left(again.backfills[-1]), again.backfills[-1].failed) == (0, 0)


async def test_a_run_of_its_own_is_counted_before_it_writes(backfills: Backfills) -> None:
    backfills.settings_of_all_runs["max_in_flight"] = 1
    await fill(backfills, Told("earlier"), [B])
    told = Told("single")
    await fill(backfills, told, [A, B, C])
    state = told.backfills[-1]
    assert (state.ranges, state.songs, state.written, songs_left(state)) == (3, 30, 20, 0)
    run, outcome = told.runs[-1]
    assert (outcome, run.songs, run.written, run.found) == ("done", 30, 20, 10)


async def test_a_smoke_run_tells_of_the_songs_it_chose(backfills: Backfills) -> None:
    told = Told("smoke")
    async with backfills.session() as session:
        await fill_first_songs(session, "told smoke", LOG, 12, told)
    state = told.backfills[-1]
    assert (state.ranges, state.songs, songs_left(state), state.written) == (0, 12, 0, 12)
    assert (told.runs[-1][0].songs, told.runs[-1][1]) == (12, "done")


async def test_a_canceled_and_a_failed_run_tell_what_is_left(
    backfills: Backfills, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.control({"chat": {"script": [None, *["hang"] * 9]}})
    told = Told("stopped")
    filling = asyncio.create_task(fill(backfills, told, [A, B], max_in_flight=2, pack_size=5))
    await asyncio.to_thread(wait_until, lambda: bool(backfills.rows()))
    filling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await filling
    run, outcome = told.runs[-1]
    state = told.backfills[-1]
    assert (outcome, run.written, run.left) == ("canceled", 5, 15)
    assert (state.running, songs_left(state)) == ([], 15)
    [(usd,)] = backfills.journal("select sum(usd)::float8 from aboutness_ops.spending")
    assert run.usd == pytest.approx(usd)
    assert caplog.messages[-1].startswith(
        "The run was canceled: 5 rows written, 0 of 2 ranges done, 15 songs of its own left; "
        f"{dollars(usd)} spent, up to $"
    )

    stand_in.reset()
    stand_in.control({"chat": {"probabilities": {"http_401": 1}}})
    with pytest.raises(FatalError):
        await fill(backfills, told, [A, B])
    assert told.runs[-1][1] == "failed"
    assert (told.backfills[-1].runs, songs_left(told.backfills[-1])) == (2, 15)
    assert caplog.messages[-1].startswith("The run failed: 0 rows written, 0 of 2 ranges done, 15 songs of ")


async def test_no_transaction_at_the_service_outlasts_the_count(
    backfills: Backfills, stand_in: StandIn
) -> None:
    stand_in.control({"chat": {"script": ["hang"]}})
    filling = asyncio.create_task(fill(backfills, Told("idle"), [A]))
    await asyncio.to_thread(wait_until, lambda: len(backfills.packs()) == 1)
    await asyncio.to_thread(
        wait_until, lambda: backfills.journal("select from aboutness_ops.backfill where songs = 10") == [()]
    )
    held = (
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and left(state, 7) = 'idle in'"
    )
    await asyncio.to_thread(wait_until, lambda: backfills.look(held) == [(0,)])
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)


async def test_nothing_that_cannot_be_told_stops_a_run(
    backfills: Backfills, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(backfills, Told("first"), [A])
    backfills.arrange_own("alter table aboutness_ops.filling_run rename to filling_run_away")
    mute = Told("mute")
    await fill(backfills, mute, [B])
    assert len(backfills.rows()) == 20
    run, outcome = mute.runs[-1]
    assert (outcome, run.written, mute.backfills) == ("done", 10, [])
    complaints = [record.message for record in caplog.records if "progress" in record.message]
    assert len(complaints) == 1
    assert complaints[0].startswith("The progress of this run cannot be kept: relation")


async def test_observations_become_rarer_and_one_run_makes_each(backfills: Backfills) -> None:
    async with backfills.session() as session:
        runs = [RunProgress(session.operations, "table", "b", f"run {n}", "budget") for n in range(4)]
        for run in runs:
            await run.begin([A])

        async def taken() -> int:
            due = [run.take_observation(least_seconds=LEAST_SECONDS, share=SHARE) for run in runs]
            return sum(await asyncio.gather(*due))

        assert await taken() == 1
        assert await taken() == 0
        for began, last, expected in ((100, 3, 0), (100, 5, 1), (36_000, 600, 0), (36_000, 800, 1)):
            backfills.arrange_own(
                "update aboutness_ops.backfill set begun_at = now() - make_interval(secs => %s),"
                " last_observed_at = now() - make_interval(secs => %s)",
                [began, last],
            )
            assert await taken() == expected


async def test_a_killed_run_does_not_count_as_running_and_another_one_counts_in_its_place(
    backfills: Backfills,
) -> None:
    async with backfills.session() as session:
        killed, heir = (
            RunProgress(session.operations, "table", "b", run_id, "budget") for run_id in ("killed", "heir")
        )
        await killed.begin([A])
        assert await killed.take_count() == (0, 0)
        await heir.begin([A])
        assert (await heir.state()).usd == 0
        assert await heir.take_count() is None
        backfills.arrange_own(
            "update aboutness_ops.filling_run set updated_at = now() - interval '1 minute'"
            " where run_id = 'killed'"
        )
        assert await heir.take_count() == (0, 0)
        state = await heir.state()
        assert (state.running, state.silent_runs, state.counting_run) == (["heir"], 1, "heir")
        assert state.silent_since is not None

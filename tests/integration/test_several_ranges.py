"""One run over several ranges: each is reported by itself as it is done, and counted by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest

from aboutness_assets.domain.errors import FatalError, InvalidPartitionKey
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.runs import fill_ranges
from aboutness_assets.pipeline.tuning import Tuning
from tests.support.backfills import DEADLINE_SECONDS, LOG, Backfills, sample_songs, wait_until
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

A, B, C, D, E = KEYS = [f"{first:09}-{first + 9:09}" for first in range(1, 50, 10)]
"""Ranges of ten songs each."""

_run_numbers = count(1)


class SeveralRanges:
    """A run over several ranges, and the reports that were heard of."""

    def __init__(self, backfills: Backfills) -> None:
        self.backfills = backfills
        self.heard: list[tuple[str, Report]] = []
        self.rows_when_heard: list[set[str]] = []

    async def fill(self, range_keys: Sequence[str], **overrides: Any) -> None:
        name = f"run over ranges {next(_run_numbers)}"
        async with self.backfills.session(**overrides) as session:
            await fill_ranges(session, range_keys, name, LOG, self._done)

    def _done(self, range_key: str, report: Report) -> None:
        self.heard.append((range_key, report))
        self.rows_when_heard.append(set(self.backfills.rows()))

    @property
    def keys(self) -> list[str]:
        return [range_key for range_key, _ in self.heard]

    @property
    def reports(self) -> list[Report]:
        return [report for _, report in self.heard]


@pytest.fixture
def backfills(make_service: MakeService, stand_in: StandIn) -> Backfills:
    """Forty songs, ten in each range; the last range is empty."""
    return Backfills(make_service(songs=sample_songs(40)), stand_in)


def songs_of(range_key: str) -> set[str]:
    first, last = map(int, range_key.split("-"))
    return {str(number) for number in range(first, last + 1)}


async def test_every_range_is_reported_once_when_all_its_rows_are_there(backfills: Backfills) -> None:
    run = SeveralRanges(backfills)

    await run.fill(KEYS)

    assert sorted(run.keys) == KEYS
    for range_key, report, rows in zip(run.keys, run.reports, run.rows_when_heard, strict=True):
        expected = 0 if range_key == E else 10
        assert (report.songs_in_range, report.songs_written, report.songs_failed) == (expected, expected, 0)
        assert len(rows & songs_of(range_key)) == expected
    assert set(backfills.times_asked().values()) == {1}
    assert len(backfills.rows()) == 40


async def test_only_the_ranges_of_the_run_are_filled(backfills: Backfills) -> None:
    run = SeveralRanges(backfills)

    await run.fill([D, B])

    assert sorted(run.keys) == [B, D]
    assert backfills.rows().keys() == songs_of(B) | songs_of(D)


async def test_what_each_range_counts_adds_up_to_what_the_endpoint_received(
    backfills: Backfills, stand_in: StandIn
) -> None:
    stand_in.control(
        {
            "chat": {"script": [None, "http_429", None, "http_429_retry_after_ms", "dropped_key"]},
            "embeddings": {"script": [None, "http_429", None]},
        }
    )
    run = SeveralRanges(backfills)

    await run.fill(KEYS, pack_size=3)

    requests = stand_in.requests()["requests"]
    rate_limited = [request["route"] for request in requests if request["status"] == 429]
    received = backfills.requests()
    chat_requests = sum(report.batch_requests + report.single_song_requests for report in run.reports)
    assert sorted(rate_limited) == ["chat", "chat", "embeddings"]
    assert sum(report.rate_limited_requests for report in run.reports) == 3
    assert chat_requests == received["chat"] - 2
    assert sum(report.embedding_requests for report in run.reports) == received["embeddings"] - 1
    assert sum(report.songs_written for report in run.reports) == 40
    journal = backfills.journal(
        "select range_key, count(*), sum(prompt_tokens), sum(completion_tokens) from aboutness_ops.spending"
        " where kind = 'chat' and state = 'billed' group by range_key order by range_key"
    )
    assert journal == [
        (
            range_key,
            report.batch_requests + report.single_song_requests,
            report.prompt_tokens,
            report.completion_tokens,
        )
        for range_key, report in sorted(run.heard)
        if range_key != E
    ]


async def test_the_dimension_is_found_out_once_for_all_ranges(
    backfills: Backfills, stand_in: StandIn
) -> None:
    await SeveralRanges(backfills).fill(KEYS)

    assert stand_in.requests()["counts"]["items"]["inputs"] == 1 + 2 * 40


async def test_a_failed_song_is_told_with_its_own_range(backfills: Backfills, stand_in: StandIn) -> None:
    song_id, title, _ = sample_songs(40)[14]
    stand_in.control({"poison": {title: "refusal"}})
    run = SeveralRanges(backfills)

    await run.fill([A, B, C])

    failed = {key: [failure.song_id for failure in report.failed] for key, report in run.heard}
    assert failed == {A: [], B: [song_id], C: []}
    assert backfills.journal("select range_key from aboutness_ops.failed_song") == [(B,)]


async def test_a_range_is_reported_while_another_one_is_still_at_work(
    backfills: Backfills, stand_in: StandIn
) -> None:
    backfills.tuning = Tuning(grace_seconds=0.1)
    stand_in.control({"poison": {sample_songs(40)[14][1]: "hang"}})
    run = SeveralRanges(backfills)
    filling = asyncio.create_task(run.fill([A, B, C]))
    await asyncio.to_thread(wait_until, lambda: len(run.heard) == 2)

    filling.cancel()

    with pytest.raises(asyncio.CancelledError):
        await filling
    assert sorted(run.keys) == [A, C]
    assert backfills.rows().keys() == songs_of(A) | songs_of(C)


async def test_a_fault_that_stops_the_run_leaves_the_ranges_that_were_done(
    backfills: Backfills, stand_in: StandIn
) -> None:
    backfills.tuning = Tuning(ranges_at_once=1)
    stand_in.control({"chat": {"script": [None, None], "probabilities": {"http_401": 1}}})
    run = SeveralRanges(backfills)

    with pytest.raises(FatalError, match="OPENAI_API_KEY"):
        await run.fill([A, B, C, D])

    assert run.keys == [A, B]
    assert [report.songs_written for report in run.reports] == [10, 10]
    assert backfills.rows().keys() == songs_of(A) | songs_of(B)
    stand_in.reset()
    again = SeveralRanges(backfills)
    await again.fill([A, B, C, D])
    assert {key: report.songs_written for key, report in again.heard} == {A: 0, B: 0, C: 10, D: 10}
    assert sum(map(len, backfills.packs())) == 20


async def test_two_runs_with_ranges_in_common_wait_for_each_other_and_ask_nothing_twice(
    backfills: Backfills, stand_in: StandIn
) -> None:
    stand_in.control({"latency_seconds": {"chat": 0.2}})
    one, other = SeveralRanges(backfills), SeveralRanges(backfills)

    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(one.fill([A, B, C]), other.fill([D, C, B]))

    assert sorted(one.keys) == [A, B, C]
    assert sorted(other.keys) == [B, C, D]
    assert len(backfills.rows()) == 40
    assert set(backfills.times_asked().values()) == {1}
    assert sum(report.songs_written for report in one.reports + other.reports) == 40


async def test_a_key_that_is_none_stops_the_run_before_anything_is_asked(backfills: Backfills) -> None:
    run = SeveralRanges(backfills)

    with pytest.raises(InvalidPartitionKey):
        await run.fill([A, "no range"])

    assert run.heard == []
    assert backfills.requests() == {}

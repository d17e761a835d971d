"""Money under every fault: the bill of a metering endpoint against the ledger, its caps and the reports.

What holds after each: billed <= spent + uncertain, spent <= billed, billed and all that a cap counts <= cap
at every commit, the budget's sums are those over its attempts, and the reports of a complete range add up to
what was spent on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from aboutness_assets.domain.errors import FatalError
from tests.support.backfills import QUICK, WHOLE_CATALOGUE, Backfills, sample_songs, wait_until
from tests.support.kills import Forks
from tests.support.money import PRICES, Balance, Books, metered
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

OpenBooks = Callable[..., Awaitable[Books]]
Tell = Callable[..., None]

SONGS = 60
SETTINGS = {**PRICES, "pack_size": 5, "max_in_flight": 4, "quarantine_after": 1_000}
"""Twelve packs, four of them at once."""

CAP = 0.003
"""Reached by about half of the packs."""

CAP_WITHOUT_LIMITS = 0.03
"""Room for one answer whose length nobody limits, beside some that came."""

LYING_USAGE = (
    "usage_missing",
    "usage_zero",
    "usage_negative",
    "usage_absurd",
    "usage_cached_above_prompt",
)


@pytest.fixture
def open_books(make_service: Callable[..., ServiceDatabase], stand_in: StandIn) -> OpenBooks:
    async def open_books(**control: Any) -> Books:
        stand_in.control(metered(**control))
        service = make_service(songs=sample_songs(SONGS))
        return await Books.open(
            Backfills(service, stand_in, settings_of_all_runs=dict(SETTINGS), tuning=QUICK)
        )

    return open_books


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    process = Forks(tmp_path_factory.mktemp("runs"))
    yield process
    process.end()


@pytest.fixture
def tell(money_result: Tell) -> Tell:
    def tell(fault: str, balance: Balance, books: Books, cap: float | None = None) -> None:
        rows = len(books.backfills.rows())
        money_result(fault=fault, cap_usd=cap, songs=SONGS, rows=rows, **asdict(balance))

    return tell


def struck(*faults: str, share: float, chat_only: bool = False) -> dict[str, Any]:
    """Each of the faults once, then each at random; the first embedding request is a probe."""
    of_route = {"script": list(faults), "probabilities": dict.fromkeys(faults, share)}
    return {"chat": of_route} if chat_only else {"chat": of_route, "embeddings": of_route}


BROKEN_DELIVERIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "time-outs, requests sent again": (struck("hang", share=0.1), {"request_timeout": 1}),
    "bodies that drip until the time-out": (struck("slow_drip", share=0.1), {"request_timeout": 1}),
    "connections reset before the body": (struck("connection_reset", share=0.3), {}),
    "cut bodies": (struck("reset_mid_body", share=0.3), {}),
    "a proxy's page instead of the answer": (struck("html_instead_of_json", "http_502", share=0.15), {}),
    "refusals and server errors": (struck("http_429", "http_500", "http_503", share=0.1), {}),
    "answers that are not JSON": (struck("malformed_json", "null_content", share=0.1, chat_only=True), {}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("fault", BROKEN_DELIVERIES)
async def test_broken_deliveries(open_books: OpenBooks, tell: Tell, fault: str) -> None:
    control, settings = BROKEN_DELIVERIES[fault]
    books = await open_books(**control)

    report = await books.fill(**settings)

    assert len(books.backfills.rows()) + report.songs_failed == SONGS
    tell(fault, books.hold(complete=[WHOLE_CATALOGUE]), books)


@pytest.mark.thorough
@pytest.mark.parametrize("fault", LYING_USAGE)
async def test_lying_usage(open_books: OpenBooks, tell: Tell, fault: str) -> None:
    books = await open_books(**struck(fault, share=0.5, chat_only=fault == "usage_cached_above_prompt"))

    await books.fill()

    assert len(books.backfills.rows()) == SONGS
    balance = books.hold(complete=[WHOLE_CATALOGUE])
    assert balance.uncertain_usd > 0
    tell(f"usage that is {_what(fault)}, half of the answers", balance, books)


@pytest.mark.thorough
@pytest.mark.parametrize("fault", LYING_USAGE)
async def test_a_cap_holds_whatever_usage_says(open_books: OpenBooks, tell: Tell, fault: str) -> None:
    books = await open_books(**struck(fault, share=1, chat_only=fault == "usage_cached_above_prompt"))

    with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
        await books.fill(max_usd=CAP)

    assert books.unused_answers() == 0
    tell(f"usage that is {_what(fault)}, at a cap", books.hold(cap=CAP), books, CAP)


def _what(fault: str) -> str:
    return fault.removeprefix("usage_").replace("_", " ")


REFUSED_LIMITS: dict[str, list[str]] = {
    "within the request's limit": [],
    "an endpoint that knows max_tokens only": ["max_completion_tokens"],
    "an endpoint without a limit": ["max_completion_tokens", "max_tokens"],
}


@pytest.mark.thorough
@pytest.mark.parametrize(("length", "is_capped"), [(3, False), (10, False), (10, True)])
@pytest.mark.parametrize("refused", REFUSED_LIMITS)
async def test_long_answers(
    open_books: OpenBooks, tell: Tell, length: int, refused: str, is_capped: bool
) -> None:
    cap = None
    if is_capped:
        cap = CAP_WITHOUT_LIMITS if len(REFUSED_LIMITS[refused]) == 2 else CAP
    books = await open_books(answer_length=length, refused_parameters=REFUSED_LIMITS[refused])

    if cap is None:
        report = await books.fill()
        assert len(books.backfills.rows()) + report.songs_failed == SONGS
        balance = books.hold(complete=[WHOLE_CATALOGUE])
    else:
        with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
            await books.fill(max_usd=cap)
        balance = books.hold(cap=cap)

    at = "" if cap is None else ", at a cap"
    tell(f"answers {length} times as long, {refused}{at}", balance, books, cap)


async def test_cached_prompts(open_books: OpenBooks, tell: Tell) -> None:
    books = await open_books(cached_share=0.7)

    await books.fill()

    balance = books.hold(complete=[WHOLE_CATALOGUE])
    assert balance.spent_usd == pytest.approx(balance.billed_usd)
    tell("prompts of which 70 % are cached", balance, books)


async def test_a_cap_in_mid_flight_and_launches_after_it(open_books: OpenBooks, tell: Tell) -> None:
    books = await open_books(latency_seconds={"chat": 0.1, "embeddings": 0.02})

    with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
        await books.fill(max_usd=CAP)

    rows = len(books.backfills.rows())
    assert books.unused_answers() == 0
    assert rows == 5 * books.states()["billed"] > 0, "what was paid for did not become rows"
    balance = books.hold(cap=CAP)
    tell("a cap reached with answers under way", balance, books, CAP)

    with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
        await books.fill(max_usd=CAP)
    again = books.hold(cap=CAP)
    tell("launched again at the same cap", again, books, CAP)
    assert len(books.backfills.rows()) == rows
    assert again.chat_requests == balance.chat_requests, "a launch at a cap that was reached asked for more"
    assert again.embedding_requests <= balance.embedding_requests + 1, "it did more than the probe"

    await books.fill(max_usd=1)
    assert len(books.backfills.rows()) == SONGS
    tell("finished under a higher cap", books.hold(cap=1, complete=[WHOLE_CATALOGUE]), books, 1)


async def test_time_outs_at_a_cap(open_books: OpenBooks, tell: Tell) -> None:
    books = await open_books(**struck("hang", share=0.3, chat_only=True))

    with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
        await books.fill(max_usd=CAP, request_timeout=2)

    assert books.unused_answers() == 0
    tell("time-outs at a cap", books.hold(cap=CAP), books, CAP)


async def test_a_person_who_cancels(open_books: OpenBooks, tell: Tell) -> None:
    """Answers that the grace does not suffice for are billed, unheard."""
    books = await open_books(latency_seconds={"chat": 0.5})
    books.backfills.tuning = replace(QUICK, grace_seconds=0.01)
    run = asyncio.create_task(books.fill())
    await asyncio.to_thread(wait_until, lambda: bool(books.backfills.packs()))

    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run

    assert books.states()["uncertain"] > 0
    books.hold()
    books.backfills.stand_in.control(metered())
    await books.fill()
    tell("a run that a person cancels", books.hold(complete=[WHOLE_CATALOGUE]), books)


@pytest.mark.thorough
async def test_kills_and_launches_under_one_budget(open_books: OpenBooks, forks: Forks, tell: Tell) -> None:
    books = await open_books(latency_seconds={"chat": 0.1, "embeddings": 0.05})
    backfills = books.backfills
    for kill in range(4):
        asked = len(backfills.packs())
        run = forks.start(backfills, **SETTINGS, max_usd=1)
        wait_until(lambda: run.has_ended() or len(backfills.packs()) >= asked + 1 + kill)  # noqa: B023
        run.kill()
        if outcome := run.outcome():
            books.enter(WHOLE_CATALOGUE, outcome["report"]["cost_usd"])

    await books.fill(max_usd=1, budget="backfill")

    assert len(backfills.rows()) == SONGS
    balance = books.hold(cap=1, complete=[WHOLE_CATALOGUE])
    assert balance.uncertain_usd > 0
    tell("four runs killed, the fifth finishes", balance, books, 1)


@pytest.mark.thorough
@pytest.mark.parametrize("length", [1, 10])
async def test_four_processes_race_for_one_cap(
    open_books: OpenBooks, forks: Forks, tell: Tell, length: int
) -> None:
    books = await open_books(latency_seconds={"chat": 0.05, "embeddings": 0.02}, answer_length=length)
    service, stand_in = books.backfills.service, books.backfills.stand_in
    ranges = [f"{first:09}-{first + 14:09}" for first in range(1, SONGS + 1, 15)]
    every = [
        Backfills(service, stand_in, key, settings_of_all_runs=dict(SETTINGS), tuning=QUICK) for key in ranges
    ]

    runs = [forks.start(each, **SETTINGS, max_usd=CAP, request_timeout=30) for each in every]
    ended = [run.wait() for run in runs]

    assert ended == [True] * 4
    outcomes = [run.outcome() for run in runs]
    assert any("ABOUTNESS_MAX_USD" in outcome.get("fault", "") for outcome in outcomes), outcomes
    assert books.unused_answers() == 0
    balance = books.hold(cap=CAP)
    longer = "" if length == 1 else f", answers {length} times as long"
    tell(f"four processes at one cap{longer}", balance, books, CAP)
    for range_key, outcome in zip(ranges, outcomes, strict=True):
        if "report" in outcome:
            books.enter(range_key, outcome["report"]["cost_usd"])
    stand_in.control(metered())
    for each in every:
        books.enter(each.range_key, (await each.fill(max_usd=1, budget="backfill")).cost_usd)
    books.hold(cap=1, complete=ranges)


async def test_a_smoke_run_and_a_fill_share_a_budget(open_books: OpenBooks, tell: Tell) -> None:
    books = await open_books()
    backfills = books.backfills
    backfills.settings_of_all_runs |= {"max_usd": 0.02, "budget": "launch"}

    report, _ = await backfills.smoke()

    books.enter("smoke", report.cost_usd)
    smoke = books.hold(cap=0.02, complete=["smoke"])
    with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
        await books.fill(max_usd=smoke.spent_usd + 0.0001)
    await books.fill()
    assert len(backfills.rows()) == SONGS
    assert backfills.journal("select distinct budget from aboutness_ops.spending") == [("launch",)]
    tell(
        "a smoke run and a backfill of one budget",
        books.hold(cap=0.02, complete=["smoke", WHOLE_CATALOGUE]),
        books,
        0.02,
    )


FLEX: dict[str, dict[str, Any]] = {
    "flex": {},
    "flex without capacity at times": {"script": ["flex_unavailable"] * 3},
    "flex that is served, and billed, as standard": {"probabilities": {"flex_served_as_default": 0.5}},
    "flex with time-outs": {"script": ["hang", None, "hang"]},
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", FLEX)
async def test_flex(open_books: OpenBooks, tell: Tell, what: str, caplog: pytest.LogCaptureFixture) -> None:
    books = await open_books(chat=FLEX[what])

    await books.fill(tier="flex", request_timeout=1)
    assert caplog.text.count("in service tier 'flex' is assumed: 0.5 times the standard price") == 1

    assert len(books.backfills.rows()) == SONGS
    _hold_the_price_to_the_tier(books)
    tell(what, books.hold(complete=[WHOLE_CATALOGUE]), books)


async def test_a_backfill_begun_in_flex_is_finished_in_the_standard_tier(
    open_books: OpenBooks, tell: Tell
) -> None:
    books = await open_books()

    with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
        await books.fill(tier="flex", max_usd=CAP / 2)
    books.hold(cap=CAP / 2)
    await books.fill(tier="standard", max_usd=1)

    assert len(books.backfills.rows()) == SONGS
    assert {bill["service_tier"] for bill in _chat_bills(books)} == {"flex", "default"}
    _hold_the_price_to_the_tier(books)
    tell("begun in flex, finished in standard", books.hold(cap=1, complete=[WHOLE_CATALOGUE]), books, 1)


def _chat_bills(books: Books) -> list[dict[str, Any]]:
    return [bill for bill in books.backfills.stand_in.billing()["bills"] if bill["route"] == "chat"]


def _hold_the_price_to_the_tier(books: Books) -> None:
    """Each chat answer that the ledger knows as billed costs what was billed for it."""
    bills = [(each["service_tier"], round(each["usd"], 12)) for each in _chat_bills(books)]
    booked = books.backfills.journal(
        "select tier, usd::float8 from aboutness_ops.spending where kind = 'chat' and state = 'billed'"
    )
    assert booked
    for tier, usd in booked:
        bills.remove(("default" if tier == "standard" else tier, round(usd, 12)))

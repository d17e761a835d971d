"""The budget as one run sees it: when it waits for room below the cap, and what it says at the cap."""

import asyncio
import logging

import pytest

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.money.ledger import Charge, Spending
from aboutness_assets.pipeline.run_budget import UNLIMITED_COMPLETION_TOKENS, CapReached, RunBudget

CHARGE = Charge("chat", "model", "standard", 0.5, 1_000)
LOG = logging.getLogger("budget")


def budget(max_usd: float | None = 1.0, spent: float = 0.0) -> RunBudget:
    return RunBudget("spring", max_usd, Spending(spent, 0.0, 0.0))


async def test_while_a_request_is_under_way_there_may_be_room() -> None:
    money = budget()
    money.opened()
    waiting = asyncio.create_task(money.wait_for_room(CHARGE))
    await asyncio.sleep(0)
    assert not waiting.done()

    money.closed(Spending(0.25, 0.0, 0.0))

    await asyncio.wait_for(waiting, 5)


async def test_with_nothing_under_way_the_cap_is_reached_and_says_where_it_stands() -> None:
    with pytest.raises(CapReached, match=r"budget 'spring' over ABOUTNESS_MAX_USD = 1: 0\.7500 dollars are"):
        await budget(spent=0.75).wait_for_room(CHARGE)


async def test_what_raising_the_cap_to_finishes_the_rest_is_said() -> None:
    money = budget(spent=0.5)
    money.opened()
    money.closed(Spending(0.7, 0.0, 0.0))
    with pytest.raises(CapReached):
        await money.wait_for_room(CHARGE)

    said = money.what_is_left(songs_left=1_000, songs_written=100)

    # 0.2 dollars per 100 songs; 0.7 spent, 2 x 1.1 to come, 0.5 for the largest reservation.
    assert "1000 songs of the catalogue have no row yet. At 2.0000 dollars per 1,000 songs" in said
    assert "ABOUTNESS_MAX_USD = 3.40 would finish them" in said
    assert "ABOUTNESS_MAX_USD = " not in money.what_is_left(songs_left=1_000, songs_written=0)


def test_a_cap_needs_prices() -> None:
    unknown = Charge("embedding", "vectors", "standard", None)

    budget(max_usd=None).require_price(unknown)
    with pytest.raises(FatalError, match="ABOUTNESS_EMBEDDING_PRICE"):
        budget().require_price(unknown)


def test_a_limit_bounds_an_answer_until_one_is_longer() -> None:
    money = budget()
    assert money.completion_bound(1_000) == 1_000
    assert money.completion_bound(None) == UNLIMITED_COMPLETION_TOKENS

    money.answered(CHARGE, Usage(950, 20_000))

    assert money.completion_bound(1_000) == money.completion_bound(None) == 40_000


def test_a_usage_that_cannot_be_booked_is_mentioned_once(caplog: pytest.LogCaptureFixture) -> None:
    money = budget()

    money.warn_of_usage(CHARGE, None, LOG)
    money.warn_of_usage(CHARGE, None, LOG)

    assert len(caplog.records) == 1
    assert "states no usage" in caplog.text


def test_a_note_on_a_tier_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    money = budget()

    for note in (None, "Assumed.", "Assumed.", "Unknown."):
        money.tell_of_tier(note, LOG)

    assert caplog.messages == ["Assumed.", "Unknown."]

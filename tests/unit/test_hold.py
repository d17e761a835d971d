"""Locks that are held for sure, or in doubt."""

import asyncio

import pytest

from aboutness_assets.database.hold import CERTAIN_SECONDS, GIVEN_AWAY_SECONDS, Hold
from aboutness_assets.database.silence import END_WITH_THE_HOST, UNHEARD_SECONDS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_the_locks_are_certain_for_a_while_after_the_question_not_after_its_answer() -> None:
    clock = Clock()
    hold = Hold(clock)
    assert not hold.is_certain
    hold.confirm(asked_at=clock.now - 1.0)
    assert hold.is_certain
    clock.now += CERTAIN_SECONDS - 1.0
    assert not hold.is_certain


async def test_who_waits_while_they_are_in_doubt_goes_on_when_they_are_held_again() -> None:
    clock = Clock()
    hold = Hold(clock)
    waiting = asyncio.create_task(hold.certain())
    hold.confirm(clock.now)
    await waiting
    hold.doubt()
    waiting = asyncio.create_task(hold.certain())
    await asyncio.sleep(0)
    hold.confirm(clock.now - CERTAIN_SECONDS)  # an answer that came too late makes nothing certain
    await asyncio.sleep(0)
    assert not waiting.done()
    hold.confirm(clock.now)
    await waiting


async def test_a_transaction_is_cut_short_when_the_locks_become_doubtful() -> None:
    clock = Clock()
    hold = Hold(clock)
    hold.confirm(clock.now - CERTAIN_SECONDS + 0.01)
    with pytest.raises(TimeoutError):
        async with hold.while_certain():
            await asyncio.Event().wait()


async def test_a_transaction_goes_on_while_the_locks_are_confirmed_again() -> None:
    clock = Clock()
    hold = Hold(clock)
    hold.confirm(clock.now - CERTAIN_SECONDS + 0.01)
    async with hold.while_certain():
        hold.confirm(clock.now)
        await asyncio.sleep(0.02)


def test_what_was_sent_while_they_were_certain_arrives_before_they_can_be_given_away() -> None:
    assert CERTAIN_SECONDS + UNHEARD_SECONDS < GIVEN_AWAY_SECONDS
    assert f"'tcp_user_timeout', '{1000 * GIVEN_AWAY_SECONDS}'" in END_WITH_THE_HOST

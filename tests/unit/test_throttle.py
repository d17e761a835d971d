"""The throttle of one process and of several that share a store in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aboutness_assets.limits.slots import MAX_IN_FLIGHT, MIN_IN_FLIGHT, MIN_LATENCIES, UNKNOWN_IN_FLIGHT
from aboutness_assets.limits.store import Pause
from aboutness_assets.limits.throttle import Reservation, Throttle
from tests.support.memory_limit_store import MemoryLimitStore
from tests.support.simulated_provider import Provider, keep_asking
from tests.support.virtual_time import now, release_times, run_in_virtual_time

BURST_SECONDS = 1
"""What was not used may be made up for within so long."""


def with_one(test: Callable[[Throttle], Awaitable[None]], **limits: Any) -> None:
    """Run a test with the throttle of one process, in virtual time."""
    with_many(1, lambda throttles: test(throttles[0]), **limits)


def with_many(
    number: int, test: Callable[[list[Throttle]], Awaitable[None]], *, max_in_flight: int = 0, **limits: Any
) -> None:
    """Run a test with the throttles of so many processes that share a key, in virtual time."""

    async def main() -> None:
        store = MemoryLimitStore(clock=now, **limits)
        await test([Throttle(store, max_in_flight=max_in_flight, clock=now) for _ in range(number)])

    run_in_virtual_time(main)


def test_requests_are_spread_over_the_minute() -> None:
    async def test(throttle: Throttle) -> None:
        times = await release_times(throttle, 610)
        assert sum(at == 0 for at in times) <= 11  # one second's worth may go at once
        assert times[-1] == pytest.approx(60, abs=0.2)

    with_one(test, requests_per_minute=600)


def test_a_request_larger_than_a_seconds_worth_goes_and_the_next_ones_pay_for_it() -> None:
    async def test(throttle: Throttle) -> None:
        assert await release_times(throttle, 3, tokens=20_000) == pytest.approx([0, 19, 39], abs=0.1)

    with_one(test, tokens_per_minute=60_000)


def test_a_large_request_is_not_overtaken_by_small_ones_behind_it() -> None:
    async def test(throttle: Throttle) -> None:
        gone: list[int] = []

        async def send(tokens: int) -> None:
            await throttle.reserve(tokens)
            gone.append(tokens)

        await asyncio.gather(*(send(tokens) for tokens in (900, 500, 1, 2, 3)))
        assert gone == [900, 500, 1, 2, 3]

    with_one(test, tokens_per_minute=60_000)


@pytest.mark.parametrize(("used", "seconds"), [(400, 0.4), (31_000, 31)])
def test_tokens_that_were_not_used_are_given_back_and_those_beyond_are_taken(
    used: int, seconds: float
) -> None:
    async def test(throttle: Throttle) -> None:
        throttle.settle(await throttle.reserve(10_000), used, 0)
        assert (await release_times(throttle, 2))[-1] == pytest.approx(max(0, seconds - 1) + 0.1, abs=0.2)

    with_one(test, tokens_per_minute=60_000)


@pytest.mark.parametrize(("configured", "stated", "obeyed"), [(600, 60, 60), (60, 600, 60)])
def test_of_a_configured_and_a_stated_limit_the_lower_one_holds(
    configured: int, stated: int, obeyed: int
) -> None:
    async def test(throttle: Throttle) -> None:
        headers = {"x-ratelimit-limit-requests": str(stated), "x-ratelimit-remaining-requests": "50"}
        throttle.observe(headers, await throttle.reserve(1))
        assert (await release_times(throttle, obeyed + 1))[-1] == pytest.approx(60, abs=1.2)

    with_one(test, requests_per_minute=configured)


@settings(max_examples=25, deadline=None)
@example(rpm=1, tpm=100, sizes=[202, 1, 1, 1])
@given(
    rpm=st.integers(1, 3000),
    tpm=st.integers(100, 20_000),
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
)
def test_no_span_of_time_sees_more_than_its_share_and_one_burst(rpm: int, tpm: int, sizes: list[int]) -> None:
    async def test(throttles: list[Throttle]) -> None:
        async def send(number: int, tokens: int) -> tuple[float, int]:
            await throttles[number % 2].reserve(tokens)
            return now(), tokens

        sent = sorted(await asyncio.gather(*(send(*numbered) for numbered in enumerate(sizes))))
        for first in range(len(sent)):
            for last in range(first, len(sent)):
                seconds = sent[last][0] - sent[first][0] + BURST_SECONDS
                # What the other process has in line keeps its turn while tokens hold back what is before it:
                # one more.
                assert last - first <= rpm / 60 * seconds + 2 + 1e-3
                # The last ones may be larger than what is there: those behind them pay for it.
                tokens = sum(size for _, size in sent[first:last])
                assert tokens <= tpm / 60 * seconds + 2 * max(sizes) + 1e-3

    with_many(2, test, requests_per_minute=rpm, tokens_per_minute=tpm)


async def limited_again(throttle: Throttle, headers: dict[str, str] | None = None) -> Pause:
    """Sends one request that is answered with 429."""
    pause, _ = await throttle.rate_limited(headers or {}, await throttle.reserve(1))
    return pause


def test_429s_in_a_row_wait_as_the_settings_say_and_the_last_wait_repeats() -> None:
    async def test(throttle: Throttle) -> None:
        assert [(await limited_again(throttle)).seconds for _ in range(4)] == [15, 30, 30, 30]

    with_one(test, waits=(15, 30))


def test_an_answer_after_the_pause_ends_the_row() -> None:
    async def test(throttle: Throttle) -> None:
        sent_before = await throttle.reserve(1)
        await asyncio.sleep(1)
        assert (await limited_again(throttle)).seconds == 15
        throttle.observe({}, sent_before)
        assert (await limited_again(throttle)).seconds == 30  # the answer to an older request proves nothing
        throttle.observe({}, await throttle.reserve(1))
        assert (await limited_again(throttle)).seconds == 15

    with_one(test, waits=(15, 30))


def test_429s_of_requests_sent_before_the_pause_belong_to_it() -> None:
    async def test(throttle: Throttle) -> None:
        sent = [await throttle.reserve(1) for _ in range(4)]
        await asyncio.sleep(1)
        pauses = [(await throttle.rate_limited({}, each))[0] for each in sent[:3]]
        assert [pause.begins for pause in pauses] == [True, False, False]
        assert [pause.seconds for pause in pauses] == pytest.approx([15, 15, 15], abs=0.1)
        assert (await throttle.rate_limited({"retry-after": "20"}, sent[3]))[0].added == pytest.approx(
            5, abs=0.1
        )

    with_one(test, waits=(15, 30))


def test_a_late_429_of_an_old_pause_does_not_start_another() -> None:
    async def test(throttle: Throttle) -> None:
        early, late = await throttle.reserve(1), await throttle.reserve(1)
        await asyncio.sleep(1)
        await throttle.rate_limited({}, early)
        await asyncio.sleep(100)
        assert (await throttle.rate_limited({}, late))[0].seconds == 0

    with_one(test)


@pytest.mark.parametrize(("arguments", "seconds"), [({}, 600), ({"max_pause_seconds": 40.0}, 40)])
def test_an_absurd_wait_is_cut_and_reported(arguments: dict[str, Any], seconds: float) -> None:
    async def main() -> None:
        throttle = Throttle(MemoryLimitStore(clock=now), clock=now, **arguments)
        pause, asked = await throttle.rate_limited({"retry-after": "86400"}, await throttle.reserve(1))
        assert (pause.seconds, asked) == (seconds, 86400)
        pause, asked = await throttle.rate_limited({"retry-after": "35"}, await throttle.reserve(1))
        assert (pause.seconds, asked) == (35, None)

    run_in_virtual_time(main)


def test_a_provider_that_always_says_soon_is_asked_ever_more_rarely() -> None:
    async def test(throttle: Throttle) -> None:
        pauses = [(await limited_again(throttle, {"retry-after-ms": "20"})).seconds for _ in range(16)]
        assert pauses == sorted(pauses)
        assert pauses[0] == pytest.approx(0.02)
        assert pauses[-1] == pytest.approx(30)

    with_one(test)


def test_slots_are_given_first_come_first_served_and_no_more_than_there_are() -> None:
    async def test(throttle: Throttle) -> None:
        order: list[int] = []
        at_once: list[int] = []

        async def work(number: int) -> None:
            async with throttle.slot():
                order.append(number)
                at_once.append(throttle.in_flight)
                await asyncio.sleep(0)

        await asyncio.gather(*map(work, range(10)))
        assert order == list(range(10))
        assert max(at_once) == 2
        assert throttle.in_flight == 0

    with_one(test, max_in_flight=2)


@pytest.mark.parametrize("granted_first", [False, True])
def test_a_cancelled_waiter_leaves_its_slot_to_the_next(granted_first: bool) -> None:
    async def test(throttle: Throttle) -> None:
        reached = asyncio.Event()

        async def work() -> None:
            async with throttle.slot():
                reached.set()

        async with throttle.slot():
            cancelled = asyncio.create_task(work())
            next_one = asyncio.create_task(work())
            await asyncio.sleep(0)
            if not granted_first:
                cancelled.cancel()
        if granted_first:
            cancelled.cancel()
        await next_one
        assert cancelled.cancelled() or granted_first
        assert reached.is_set()
        assert throttle.in_flight == 0

    with_one(test, max_in_flight=1)


async def answered(throttle: Throttle, headers: dict[str, str], latency: float) -> None:
    for number in range(MIN_LATENCIES + 1):
        throttle.observe(headers, Reservation(now() - latency, 1.0, False, number, number))
        await throttle.reserve(1)


@pytest.mark.parametrize(
    ("limit", "latency", "size", "slots"),
    [
        (5000, 4, 0, range(333, 451)),
        (30_000, 60, 0, range(MAX_IN_FLIGHT, MAX_IN_FLIGHT + 1)),
        (600, 0.01, 0, range(MIN_IN_FLIGHT, MIN_IN_FLIGHT + 1)),
        (30_000, 60, 3, range(3, 4)),
    ],
)
def test_slots_follow_limit_times_latency_within_their_bounds(
    limit: int, latency: float, size: int, slots: range
) -> None:
    async def test(throttle: Throttle) -> None:
        assert throttle.max_in_flight == (size or UNKNOWN_IN_FLIGHT)
        await answered(throttle, {"x-ratelimit-limit-requests": str(limit)}, latency)
        assert throttle.max_in_flight in slots

    with_one(test, max_in_flight=size)


def test_slots_follow_the_token_limit_where_it_is_the_narrower_one() -> None:
    async def test(throttle: Throttle) -> None:
        throttle.settle(await throttle.reserve(2000), 2000, 0)
        await answered(throttle, {"x-ratelimit-limit-tokens": "600000"}, latency=4)
        assert 20 <= throttle.max_in_flight <= 40

    with_one(test, requests_per_minute=5000)


def test_a_cancelled_reservation_lets_the_next_one_go() -> None:
    async def test(throttle: Throttle) -> None:
        await limited_again(throttle, {"retry-after": "500"})
        waiting = asyncio.create_task(throttle.reserve(1))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await release_times(throttle, 1))[0] == pytest.approx(499, abs=0.1)

    with_one(test)


def test_a_run_that_ends_tells_what_its_last_answers_said() -> None:
    async def test(throttles: list[Throttle]) -> None:
        ended, next_one = throttles
        reservation = await ended.reserve(100)
        ended.observe(
            {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "599"}, reservation
        )
        await ended.report()
        assert (await release_times(next_one, 610))[-1] == pytest.approx(60 / 0.985, abs=0.5)

    with_many(2, test)


def test_it_tells_what_the_next_request_waits_for() -> None:
    def told(throttle: Throttle) -> tuple[float, bool, float] | None:
        if (waiting := throttle.waiting) is None:
            return None
        return round(waiting.seconds, 6), waiting.paused, round(waiting.requests_per_minute, 6)

    async def test(throttle: Throttle) -> None:
        assert throttle.waiting is None
        sent = await throttle.reserve(1)
        assert throttle.waiting is None
        turn = asyncio.create_task(throttle.reserve(1))
        await asyncio.sleep(5)
        assert told(throttle) == (14, False, 3)
        await turn

        await throttle.rate_limited({"retry-after": "400"}, sent)
        turn = asyncio.create_task(throttle.reserve(1))
        await asyncio.sleep(100)
        assert told(throttle) == (300, True, 2.85)
        turn.cancel()

    with_one(test, requests_per_minute=3)


async def use_of(
    limits: dict[str, Any], processes: int, learning: float, seconds: float
) -> tuple[float, float]:
    """The share of the provider's limit that is used, and that of 429s, after so long."""
    store, provider, began = MemoryLimitStore(clock=now), Provider(**limits), now()
    asking = [
        asyncio.create_task(keep_asking(provider, Throttle(store, clock=now), 40)) for _ in range(processes)
    ]
    await asyncio.sleep(learning + seconds)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    used = provider.rate(began + learning, began + learning + seconds) * 60 / limits["requests_per_minute"]
    return used, provider.share_refused(began + learning)


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("algorithm", ["window", "bucket"])
@pytest.mark.parametrize("limit", [3, 5, 10, 60])
def test_a_small_limit_in_headers_is_used(limit: int, algorithm: str, processes: int) -> None:
    limits = {"requests_per_minute": limit, "algorithm": algorithm}
    used, refused = run_in_virtual_time(lambda: use_of(limits, processes, 120, 1200))
    assert used >= 0.95
    assert refused == 0


@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize("algorithm", ["window", "bucket"])
@pytest.mark.parametrize(("limit", "processes"), [(3, 2), (10, 1), (60, 1)])
def test_a_small_limit_that_nothing_states_is_found_out_and_used(
    limit: int, processes: int, algorithm: str, retry_after: bool
) -> None:
    limits = {
        "requests_per_minute": limit,
        "headers": False,
        "retry_after": retry_after,
        "algorithm": algorithm,
    }
    used, refused = run_in_virtual_time(lambda: use_of(limits, processes, 300, 1200))
    assert used >= 0.97
    assert refused < 0.01


def test_what_waited_for_a_brake_goes_on_when_it_is_lifted() -> None:
    async def test(throttle: Throttle) -> None:
        sent = [await throttle.reserve(1) for _ in range(2)]
        throttle.observe(headers_of(remaining=60), sent[0])
        await asyncio.sleep(1)
        throttle.observe(headers_of(remaining=0), sent[1])  # others use the key
        waiting = asyncio.create_task(release_times(throttle, 4))
        await asyncio.sleep(9)
        throttle.observe(headers_of(remaining=50), Reservation(now(), 1, False, 3, 3))
        assert (await waiting)[-1] < 20

    with_one(test)


def headers_of(remaining: int) -> dict[str, str]:
    return {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": str(remaining)}

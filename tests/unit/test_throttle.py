import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aboutness_assets.throttle import (
    BURST_SECONDS,
    LATENCIES_BEFORE_BELIEF,
    MAX_IN_FLIGHT,
    MIN_IN_FLIGHT,
    UNKNOWN_IN_FLIGHT,
    Throttle,
)


class VirtualTime:
    """A clock that only sleeping moves; ``reserve`` lets one task at a time sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


def throttle_of(time: VirtualTime, **settings: object) -> Throttle:
    return Throttle(clock=time.clock, sleep=time.sleep, **settings)  # type: ignore[arg-type]


async def release_times(throttle: Throttle, requests: int, tokens: int = 100) -> list[float]:
    """When each of so many requests, all waiting from the start, is let go; in seconds from now."""
    began = throttle._clock()
    return [at - began for at in await asyncio.gather(*(throttle.reserve(tokens) for _ in range(requests)))]


async def test_without_a_known_limit_nothing_waits(time: VirtualTime) -> None:
    assert await release_times(throttle_of(time), 1000) == [0] * 1000


async def test_requests_are_spread_over_the_minute(time: VirtualTime) -> None:
    times = await release_times(throttle_of(time, requests_per_minute=600), 610)
    assert times[:10] == [0] * 10  # one second's worth may go at once
    assert times[-1] == pytest.approx(60)


async def test_a_token_limit_binds_where_it_is_the_narrower_one(time: VirtualTime) -> None:
    throttle = throttle_of(time, requests_per_minute=6000, tokens_per_minute=60_000)
    times = await release_times(throttle, 31, tokens=1000)
    assert times[-1] == pytest.approx(30)


async def test_a_request_larger_than_a_seconds_worth_goes_and_the_next_ones_pay_for_it(
    time: VirtualTime,
) -> None:
    throttle = throttle_of(time, tokens_per_minute=60_000)
    assert await release_times(throttle, 3, tokens=20_000) == pytest.approx([0, 20, 40])


async def test_a_large_request_is_not_overtaken_by_small_ones_behind_it(time: VirtualTime) -> None:
    throttle = throttle_of(time, tokens_per_minute=60_000)
    gone: list[int] = []

    async def send(tokens: int) -> None:
        await throttle.reserve(tokens)
        gone.append(tokens)

    await asyncio.gather(*(send(tokens) for tokens in (900, 500, 1, 2, 3)))
    assert gone == [900, 500, 1, 2, 3]


async def test_tokens_reserved_but_not_used_are_given_back_and_those_beyond_are_taken(
    time: VirtualTime,
) -> None:
    throttle = throttle_of(time, tokens_per_minute=60_000)
    await throttle.reserve(1000)
    throttle.settle(estimated=1000, used=400)
    assert await release_times(throttle, 1, tokens=600) == [0]
    throttle.settle(estimated=600, used=2600)
    assert await release_times(throttle, 1, tokens=500) == pytest.approx([2.5])


async def test_limits_are_learnt_from_the_headers(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    throttle.observe({"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "2"}, time.now)
    times = await release_times(throttle, 5)
    assert times == pytest.approx([0, 0, 0.1, 0.2, 0.3])


async def test_a_limit_that_changes_in_mid_run_is_followed(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    for limit in (600, 60):
        throttle.observe({"x-ratelimit-limit-requests": str(limit)}, time.now)
    assert await release_times(throttle, 3) == pytest.approx([1, 2, 3])


@pytest.mark.parametrize(("configured", "stated", "obeyed"), [(600, 60, 60), (60, 600, 60)])
async def test_of_a_configured_and_a_stated_limit_the_lower_one_holds(
    time: VirtualTime, configured: int, stated: int, obeyed: int
) -> None:
    throttle = throttle_of(time, requests_per_minute=configured)
    throttle.observe({"x-ratelimit-limit-requests": str(stated)}, time.now)
    assert (await release_times(throttle, obeyed + 1))[-1] == pytest.approx(60)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 20_000), st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_no_span_of_time_sees_more_than_its_share_and_one_burst(rpm: int, tpm: int, sizes: list[int]) -> None:
    time = VirtualTime()
    throttle = throttle_of(time, requests_per_minute=rpm, tokens_per_minute=tpm)

    async def send(tokens: int) -> tuple[float, int]:
        return await throttle.reserve(tokens), tokens

    async def send_all() -> list[tuple[float, int]]:
        return await asyncio.gather(*map(send, sizes))

    sent = asyncio.run(send_all())
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            seconds = sent[last][0] - sent[first][0] + BURST_SECONDS
            assert last - first + 1 <= max(1, rpm / 60 * BURST_SECONDS) + rpm / 60 * seconds + 1e-6
            # The last one may be larger than what is there: those behind it pay for it.
            tokens = sum(size for _, size in sent[first:last])
            assert tokens <= max(1, tpm / 60 * BURST_SECONDS) + tpm / 60 * seconds + 1e-6 + max(sizes)


async def limited_again(throttle: Throttle, headers: dict[str, str] | None = None) -> float:
    """Sends one request that is answered with 429; how long all then wait, in seconds."""
    return throttle.rate_limited(headers or {}, await throttle.reserve(1)).seconds


async def test_429s_in_a_row_wait_as_the_settings_say_and_the_last_wait_holds_for_ever(
    time: VirtualTime,
) -> None:
    throttle = throttle_of(time, rate_limit_waits=(15, 30))
    assert [await limited_again(throttle) for _ in range(4)] == [15, 30, 30, 30]


async def test_an_answer_after_the_pause_ends_the_row(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    sent_before = await throttle.reserve(1)
    time.now += 1
    assert await limited_again(throttle) == 15
    throttle.observe({}, sent_before)
    assert await limited_again(throttle) == 30  # the answer to an older request proves nothing
    throttle.observe({}, await throttle.reserve(1))
    assert await limited_again(throttle) == 15


async def test_a_429_stops_every_request_as_long_as_the_server_says(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    assert await limited_again(throttle, {"retry-after-ms": "2500"}) == 2.5
    assert (await release_times(throttle, 1)) == [2.5]


async def test_429s_of_requests_sent_before_the_pause_belong_to_it(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    sent = [await throttle.reserve(1) for _ in range(4)]
    time.now += 1
    pauses = [throttle.rate_limited({}, at) for at in sent[:3]]
    assert [(pause.seconds, pause.begins) for pause in pauses] == [(15, True), (15, False), (15, False)]
    assert throttle.rate_limited({"retry-after": "20"}, sent[3]).added == 5


async def test_a_late_429_of_an_old_pause_does_not_start_another(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    early, late = await throttle.reserve(1), await throttle.reserve(1)
    time.now += 1
    throttle.rate_limited({}, early)
    time.now += 100
    assert throttle.rate_limited({}, late).seconds == 0


async def test_an_absurd_wait_is_cut_to_ten_minutes_and_told(time: VirtualTime) -> None:
    pause = throttle_of(time).rate_limited({"retry-after": "86400"}, time.now)
    assert (pause.seconds, pause.asked) == (600, 86400)


async def test_after_a_pause_requests_go_in_doubling_numbers_not_all_at_once(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    await limited_again(throttle)
    times = await release_times(throttle, 1000)
    in_second = [sum(second <= at - 15 < second + 1 for at in times) for second in range(4)]
    assert times[0] == 15
    assert in_second == [4, 8, 16, 32]
    assert times[-1] < 15 + 8


async def test_after_a_tiny_pause_full_speed_comes_back_at_once(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    await limited_again(throttle, {"retry-after-ms": "12"})
    assert (await release_times(throttle, 1000))[-1] < 0.1


async def test_slots_are_given_first_come_first_served_and_no_more_than_there_are(time: VirtualTime) -> None:
    throttle = throttle_of(time, max_in_flight=2)
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


@pytest.mark.parametrize("granted_first", [False, True])
async def test_a_cancelled_waiter_leaves_its_slot_to_the_next(time: VirtualTime, granted_first: bool) -> None:
    throttle = throttle_of(time, max_in_flight=1)
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


async def answered(throttle: Throttle, time: VirtualTime, headers: dict[str, str], latency: float) -> None:
    for _ in range(LATENCIES_BEFORE_BELIEF):
        throttle.observe(headers, time.now - latency)


async def test_slots_follow_limit_times_latency(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    assert throttle.max_in_flight == UNKNOWN_IN_FLIGHT
    await answered(throttle, time, {"x-ratelimit-limit-requests": "5000"}, latency=4)
    assert 333 <= throttle.max_in_flight <= 450


async def test_slots_follow_the_token_limit_where_it_is_the_narrower_one(time: VirtualTime) -> None:
    throttle = throttle_of(time, requests_per_minute=5000)
    await throttle.reserve(2000)
    await answered(throttle, time, {"x-ratelimit-limit-tokens": "600000"}, latency=4)
    assert 20 <= throttle.max_in_flight <= 40


async def test_slots_stay_within_their_bounds(time: VirtualTime) -> None:
    slow, fast, unknown, fixed = (throttle_of(time, max_in_flight=size) for size in (0, 0, 0, 3))
    await answered(slow, time, {"x-ratelimit-limit-requests": "30000"}, latency=60)
    await answered(fast, time, {"x-ratelimit-limit-requests": "60"}, latency=0.01)
    await answered(unknown, time, {}, latency=60)
    await answered(fixed, time, {"x-ratelimit-limit-requests": "30000"}, latency=60)
    sizes = [throttle.max_in_flight for throttle in (slow, fast, unknown, fixed)]
    assert sizes == [MAX_IN_FLIGHT, MIN_IN_FLIGHT, UNKNOWN_IN_FLIGHT, 3]


async def test_slots_that_are_added_wake_those_who_wait(time: VirtualTime) -> None:
    throttle = throttle_of(time)
    all_in = asyncio.Barrier(UNKNOWN_IN_FLIGHT + 10)

    async def work() -> None:
        async with throttle.slot():
            await all_in.wait()

    tasks = [asyncio.create_task(work()) for _ in range(UNKNOWN_IN_FLIGHT + 10)]
    await asyncio.sleep(0)
    await answered(throttle, time, {"x-ratelimit-limit-requests": "5000"}, latency=4)
    await asyncio.gather(*tasks)


async def test_a_cancelled_reservation_lets_the_next_one_go(time: VirtualTime) -> None:
    throttle = Throttle(rate_limit_waits=(0.01,))
    throttle.rate_limited({"retry-after": "500"}, throttle._clock())
    waiting = asyncio.create_task(throttle.reserve(1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not throttle._turn.locked()

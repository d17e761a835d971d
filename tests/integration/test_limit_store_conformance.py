"""What every LimitStore does, shown on the real one in Postgres and on the one that unit tests use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.limits.headers import Quota
from aboutness_assets.limits.store import Lease, LimitStore, Observation, Pause, Place
from tests.support.memory_limit_store import MemoryLimitStore

UNSAID = Quota(None, None, None)
_names = count()


@dataclass
class Clock:
    """Moves only when a test moves it."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


MakeStore = Callable[..., LimitStore]


@pytest.fixture(params=["postgres", "memory"])
def make_store(request: pytest.FixtureRequest, operations: Operations, clock: Clock) -> MakeStore:
    """Makes a store, with nothing known yet, from limits and waits."""
    return lambda **limits: of_kind(request.param, operations, clock, **limits)


def of_kind(kind: str, operations: Operations, clock: Clock, **limits: Any) -> LimitStore:
    if kind == "memory":
        return MemoryLimitStore(clock=clock, **limits)
    return PostgresLimitStore(operations, f"conformance {next(_names)}", clock=clock, **limits)


def quota(limit: float, remaining: float | None = None, reset: float | None = None) -> Quota:
    return Quota(limit, remaining, reset)


async def observe(
    store: LimitStore,
    requests: Quota = UNSAID,
    tokens: Quota = UNSAID,
    *,
    age: float = 0.0,
) -> Lease:
    """Reports an answer to the latest request, or to one sent ``age`` seconds ago."""
    before = await store.reserve(0, 0)
    observation = Observation(age, before.requests, before.tokens, requests, tokens)
    return await store.reserve(0, 0, observation=observation)


async def test_before_anything_is_known_requests_go_at_a_cautious_rate(make_store: MakeStore) -> None:
    lease = await make_store().reserve(1, 100)

    assert (lease.limit_known, lease.request_rate, lease.token_rate) == (False, 4.0, None)
    assert (lease.wait, lease.interval, lease.pause) == (0.0, 0.25, 0.0)
    assert (lease.requests, lease.tokens, lease.min_tokens_per_request) == (1.0, 100.0, None)


async def test_one_second_of_the_limit_goes_at_once_and_the_rest_follows_evenly(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(requests_per_minute=600)

    waits = [(await store.reserve(5, 0)).wait for _ in range(5)]

    assert waits == pytest.approx([0, 0, 0, 0.5, 1.0])
    clock.now += 1.0
    assert (await store.reserve(1, 0)).wait == pytest.approx(0.5)


async def test_what_was_not_used_is_made_up_for_within_one_second_only(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(requests_per_minute=600)
    await store.reserve(1, 0)
    clock.now += 500

    assert [(await store.reserve(10, 0)).wait for _ in range(3)] == pytest.approx([0, 0, 1.0])


async def test_the_narrower_of_both_limits_sets_the_pace(make_store: MakeStore) -> None:
    store = make_store(requests_per_minute=600, tokens_per_minute=6000)

    first, second = await store.reserve(2, 400), await store.reserve(1, 50)

    assert (first.request_rate, first.token_rate) == pytest.approx((10, 100))
    assert first.interval == pytest.approx(2.0)
    assert second.wait == pytest.approx(3.0)
    assert second.interval == pytest.approx(0.5)


@pytest.mark.parametrize(("correction", "wait"), [(0.0, 9.0), (-500.0, 4.0), (500.0, 14.0)])
async def test_tokens_are_corrected_to_what_was_used(
    make_store: MakeStore, correction: float, wait: float
) -> None:
    store = make_store(tokens_per_minute=6000)
    await store.reserve(1, 1000)

    lease = await store.reserve(1, 1, token_correction=correction)

    assert lease.wait == pytest.approx(wait)
    assert lease.tokens == pytest.approx(1001 + correction)


@pytest.mark.parametrize(
    ("configured", "stated", "rate"), [(0, 300, 4.925), (60, 300, 1.0), (600, 300, 4.925)]
)
async def test_a_configured_limit_holds_only_where_it_is_lower_than_the_stated_one(
    make_store: MakeStore, configured: int, stated: int, rate: float
) -> None:
    store = make_store(requests_per_minute=configured, tokens_per_minute=100 * configured)
    await store.reserve(1, 1)

    lease = await observe(store, quota(stated), quota(100 * stated))

    assert lease.limit_known
    assert (lease.request_rate, lease.token_rate) == pytest.approx((rate, 100 * rate))


async def test_only_the_answer_to_the_latest_request_is_believed(make_store: MakeStore, clock: Clock) -> None:
    store = make_store()
    await store.reserve(1, 1)
    clock.now += 10
    await observe(store, quota(600), age=1)

    assert (await observe(store, quota(60), age=2)).request_rate == pytest.approx(9.85)
    assert (await observe(store, quota(60), age=0.5)).request_rate == pytest.approx(0.985)


@pytest.mark.parametrize(
    ("remaining", "reset", "factor"),
    [
        (600, None, 1.0),
        (40, None, 1.0),  # what goes in four seconds
        (10, None, 0.25),
        (10, 1.0, 1.0),  # it lasts until the reset
        (0, None, 0.05),
    ],
)
async def test_requests_slow_down_while_others_leave_little_of_the_limit(
    make_store: MakeStore, remaining: float, reset: float | None, factor: float
) -> None:
    store = make_store()
    await store.reserve(1, 1)
    await observe(store, quota(600, 600))

    lease = await observe(store, quota(600, remaining, reset), age=-1e-6)

    assert lease.request_rate == pytest.approx(factor * 9.85, rel=1e-4)


async def test_what_was_sent_since_and_what_has_refilled_correct_what_remains(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store()
    await store.reserve(1, 1)
    await observe(store, quota(600, 600))
    await observe(store, quota(600, 20), age=-1e-6)

    await store.reserve(10, 10)
    assert (await store.reserve(0, 0)).request_rate == pytest.approx(9.85 * 10 / 40, rel=1e-3)
    clock.now += 1
    assert (await store.reserve(0, 0)).request_rate == pytest.approx(9.85 * 20 / 40, rel=1e-3)


async def test_tokens_slow_down_in_the_same_way(make_store: MakeStore) -> None:
    store = make_store()
    await store.reserve(1, 1)
    await observe(store, tokens=quota(6000, 6000))

    lease = await observe(store, tokens=quota(6000, 100), age=-1e-6)

    assert lease.token_rate == pytest.approx(0.985 * 25, rel=1e-4)  # 400 are sent in four seconds
    await store.reserve(1, 40)
    assert (await store.reserve(0, 0)).token_rate == pytest.approx(0.985 * 15, rel=1e-4)


async def test_a_provider_that_counts_a_sliding_minute_has_little_left_and_is_not_slowed_down(
    make_store: MakeStore,
) -> None:
    store = make_store()
    await store.reserve(10, 1)
    await observe(store, quota(600, 590))
    await store.reserve(588, 1)

    assert (await observe(store, quota(600, 2), age=-1)).request_rate == pytest.approx(9.85)


async def test_a_bucket_is_recognized_by_what_refilled_and_is_slowed_down(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store()
    clock.now = 1200  # a minute begins
    await store.reserve(598, 1)
    clock.now += 59
    await observe(store, quota(600, 590))  # a sliding minute would have 2 left
    await store.reserve(1, 1)

    assert (await observe(store, quota(600, 10), age=-1)).request_rate < 10


async def test_a_sliding_minute_that_others_use_too_is_slowed_down(make_store: MakeStore) -> None:
    store = make_store()
    await store.reserve(10, 1)
    await observe(store, quota(600, 590))
    await store.reserve(400, 1)

    assert (await observe(store, quota(600, 2), age=-1)).request_rate < 10


async def test_a_limit_that_takes_longer_than_a_minute_to_reset_says_nothing_about_the_pace(
    make_store: MakeStore,
) -> None:
    store = make_store()
    await store.reserve(1, 1)

    lease = await observe(store, quota(10_000, 3, 6 * 3600), quota(60_000, 3, 6 * 3600))

    assert (lease.limit_known, lease.request_rate, lease.token_rate) == (False, 128, None)


async def test_what_waits_is_priced_again_at_the_rate_of_now(make_store: MakeStore, clock: Clock) -> None:
    store = make_store()
    await store.reserve(1, 1)
    await observe(store, quota(600, 600))
    await observe(store, quota(600, 0), age=-1e-6)  # others use it: a twentieth of the pace
    first, second, third = [await store.reserve(20, 0) for _ in range(3)]
    assert third.wait > 60

    clock.now += 1
    await observe(store, quota(600, 600))
    places = [Place(lease.requests - 20, lease.tokens) for lease in (first, second, third)]
    waits = [(await store.reserve(20, 0, place=place)).wait for place in places]

    assert waits[0] < 0.2
    assert waits[2] - waits[1] == pytest.approx(20 / 9.85)
    assert waits[2] < 6
    assert (await store.reserve(0, 0)).requests == third.requests  # nothing was reserved twice


async def test_the_fewest_tokens_of_a_request_show_in_a_full_bucket(make_store: MakeStore) -> None:
    store = make_store()
    await store.reserve(1, 1000)

    assert (await observe(store, tokens=quota(10_000, 9400))).min_tokens_per_request == 600
    assert (await observe(store, tokens=quota(10_000, 9800), age=-1)).min_tokens_per_request == 200


async def test_the_tokens_of_a_request_show_between_two_answers(make_store: MakeStore, clock: Clock) -> None:
    store = make_store()
    await store.reserve(1, 1000)
    await observe(store, tokens=quota(60_000, 50_000))
    clock.now += 1
    await store.reserve(20, 20_000)

    lease = await observe(store, tokens=quota(60_000, 45_000))  # 6,000 gone, as 1,000 have come back

    assert lease.min_tokens_per_request == pytest.approx(300)
    assert (await observe(store, tokens=quota(30_000), age=-1)).min_tokens_per_request is None


async def test_slow_start_doubles_the_rate_each_second_that_it_is_needed(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store()
    await store.reserve(1, 1)
    assert (await observe(store)).request_rate == 128

    await store.reserve(300, 1)
    clock.now += 1
    assert (await store.reserve(1, 1)).request_rate == 256
    clock.now += 10
    assert (await store.reserve(1, 1)).request_rate == 256  # not needed: nothing waited


async def sent_and_refused(store: LimitStore, clock: Clock, requests: int, seconds: float) -> Pause:
    """So many requests are let pass in so many seconds, and one more meets a 429."""
    so_far = await store.reserve(requests + 1, 0)
    clock.now += seconds
    return await store.rate_limited(age=0, requests=so_far.requests, wait=0)


@pytest.mark.parametrize(("requests", "rate"), [(999, 64), (19, 5)])
async def test_a_429_in_slow_start_halves_its_rate_to_what_was_sent_at_most(
    make_store: MakeStore, clock: Clock, requests: int, rate: float
) -> None:
    store = make_store(waits=(0,))
    await store.reserve(1, 1)
    await observe(store)

    await sent_and_refused(store, clock, requests, 4)

    assert (await store.reserve(0, 0)).request_rate == rate


async def test_a_429_before_anything_was_let_pass_pauses_and_measures_nothing(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(waits=(15, 30))
    before = await store.reserve(0, 0)

    for seconds in (15, 30):
        so_far = await store.reserve(1, 0)
        clock.now += 0.2
        pause = await store.rate_limited(age=0, requests=so_far.requests, wait=None)
        assert pause.seconds == seconds
        clock.now += pause.seconds

    assert (await store.reserve(0, 0)).request_rate == before.request_rate


async def test_what_was_let_pass_between_two_429s_is_the_limit_and_is_held_before_it_grows(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(waits=(0,))
    await store.reserve(1, 1)
    await observe(store)
    await sent_and_refused(store, clock, 999, 4)

    await sent_and_refused(store, clock, 99, 10)

    rates = []
    for _ in range(400):
        rates.append((await store.reserve(50, 1)).request_rate)
        clock.now += 1
    assert rates[:300] == pytest.approx([0.985 * 9.9] * 300)
    assert rates[-1] > 20


async def test_the_longer_a_bucket_is_known_the_more_exactly_it_is_measured(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(waits=(0,))
    await store.reserve(1, 1)
    await observe(store)
    await sent_and_refused(store, clock, 7, 1)
    rates = []
    for requests, seconds in ((8, 70), (4, 30), (2, 15), (2, 15)):
        await observe(store)
        await sent_and_refused(store, clock, requests, seconds)
        rates.append(60 * (await store.reserve(0, 0)).request_rate / 0.985)

    assert rates == pytest.approx([7, 7, 7, 7])  # by the last 15 seconds alone it would be 8


async def test_a_429_that_names_a_longer_wait_than_a_bucket_needs_is_of_a_sliding_minute(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store()
    for requests in (31, 11):
        reserved = await store.reserve(requests, 0)
        clock.now += 5
        pause = await store.rate_limited(age=0, requests=reserved.requests, wait=40)
        clock.now += pause.seconds

    assert (await store.reserve(0, 0)).request_rate == pytest.approx(0.985 * 40 / 60)


async def test_requests_that_met_the_same_429_were_not_let_pass(make_store: MakeStore, clock: Clock) -> None:
    store = make_store()
    await store.reserve(40, 0)
    clock.now += 5
    for number in (33, 31, 32, *range(34, 41)):  # of two processes, so not in order
        await store.rate_limited(age=0, requests=number, wait=None)
    clock.now += 15
    again = await store.reserve(1, 0)
    await store.rate_limited(age=0, requests=again.requests, wait=None)

    assert (await store.reserve(0, 0)).request_rate == pytest.approx(0.985 * 30 / 60)


async def test_a_sliding_minute_lets_nothing_pass_after_a_pause_and_what_it_let_pass_is_the_limit(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store()
    first = await store.reserve(31, 0)
    clock.now += 5
    await store.rate_limited(age=0, requests=first.requests, wait=None)
    clock.now += 15
    again = await store.reserve(1, 0)
    await store.rate_limited(age=0, requests=again.requests, wait=None)

    assert (await store.reserve(0, 0)).request_rate == pytest.approx(0.985 * 0.5)


async def test_of_a_known_limit_too_few_requests_between_two_429s_say_nothing(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(requests_per_minute=6000, waits=(0,))
    await sent_and_refused(store, clock, 50, 1)
    await sent_and_refused(store, clock, 9, 10)

    assert (await store.reserve(0, 0)).request_rate == 95


async def test_of_a_known_limit_the_rate_grows_slowly_after_a_429_and_faster_later(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(requests_per_minute=6000, waits=(0,))
    await sent_and_refused(store, clock, 50, 1)
    await sent_and_refused(store, clock, 20, 1)  # a quarter of the limit at least
    rates = []
    for _ in range(20):
        rates.append((await store.reserve(500, 1)).request_rate)
        clock.now += 1

    assert rates[0] == 25
    assert rates[2] < 1.02 * 25
    assert rates[-1] == pytest.approx(50, rel=0.1)


async def test_a_429_that_names_no_time_pauses_by_the_configured_waits(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(waits=(15, 30))
    await store.reserve(1, 1)

    pauses = []
    for _ in range(3):
        pauses.append(await store.rate_limited(age=0, requests=1, wait=None))
        clock.now += pauses[-1].seconds

    assert [pause.seconds for pause in pauses] == [15, 30, 30]
    assert [pause.begins for pause in pauses] == [True] * 3
    assert [pause.added for pause in pauses] == [15, 30, 30]


async def test_429s_to_requests_of_before_the_pause_belong_to_it(make_store: MakeStore, clock: Clock) -> None:
    store = make_store(waits=(15, 30))
    await store.reserve(3, 1)
    clock.now += 1
    await store.rate_limited(age=1, requests=1, wait=None)

    same, longer = [await store.rate_limited(age=1, requests=1, wait=wait) for wait in (None, 20)]

    assert (same.seconds, same.added, same.begins) == (15, 0, False)
    assert (longer.seconds, longer.added, longer.begins) == (20, 5, False)


async def test_an_answer_to_a_request_of_after_the_pause_ends_the_row_of_429s(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(waits=(15, 30))
    await store.reserve(1, 1)
    await store.rate_limited(age=0, requests=1, wait=None)
    clock.now += 16
    await observe(store, age=16)  # sent before the pause: proves nothing
    assert (await store.rate_limited(age=0, requests=1, wait=None)).seconds == 30
    clock.now += 31
    await observe(store)

    assert (await store.rate_limited(age=-1, requests=1, wait=None)).seconds == 15


async def test_pauses_that_the_server_names_grow_where_they_do_not_help(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(waits=(15, 30))
    await store.reserve(1, 1)

    pauses = []
    for _ in range(16):
        pauses.append((await store.rate_limited(age=0, requests=1, wait=0.02)).seconds)
        clock.now += pauses[-1]

    assert pauses[:4] == pytest.approx([0.02] * 4)
    assert pauses[9] == pytest.approx(1.024)
    assert pauses[-1] == 30


async def test_during_a_pause_nothing_goes_and_no_burst_follows_it(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(requests_per_minute=600, waits=(15,))
    await store.reserve(1, 1)
    await store.rate_limited(age=0, requests=1, wait=None)
    clock.now += 5

    lease = await store.reserve(1, 1)

    assert (lease.wait, lease.pause) == (10, 10)
    assert (await store.reserve(1, 1)).wait == pytest.approx(10 + lease.interval)


async def test_what_was_found_out_is_forgotten_after_ten_minutes_without_a_request(
    make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(waits=(15, 30))
    await store.reserve(1, 1)
    await observe(store)
    await store.rate_limited(age=0, requests=1, wait=None)
    clock.now += 599
    assert (await store.reserve(0, 0)).request_rate < 64
    clock.now += 2

    assert (await store.reserve(0, 0)).request_rate == 128
    assert (await store.rate_limited(age=0, requests=1, wait=None)).seconds == 15


QUOTAS = st.builds(
    Quota,
    st.sampled_from([None, 3.0, 60.0, 600.0, 5000.0]),
    st.none() | st.integers(0, 6000).map(float),
    st.none() | st.floats(0, 100),
)
RESERVATIONS = st.tuples(
    st.integers(0, 40),
    st.integers(0, 60_000),
    st.booleans(),
    st.integers(-2000, 2000),
    st.none() | st.tuples(st.floats(0, 5), QUOTAS, QUOTAS),
)
REFUSALS = st.tuples(st.floats(0, 5), st.integers(0, 20), st.none() | st.floats(0.01, 60))
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.7, 3.0, 20.0, 61.0, 700.0]), RESERVATIONS | REFUSALS),
    min_size=1,
    max_size=40,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rpm=st.sampled_from([0, 600]), tpm=st.sampled_from([0, 90_000]), steps=STEPS)
async def test_both_stores_answer_any_row_of_calls_alike(
    operations: Operations, clock: Clock, rpm: int, tpm: int, steps: list[tuple[float, tuple[Any, ...]]]
) -> None:
    stores = [
        of_kind(kind, operations, clock, requests_per_minute=rpm, tokens_per_minute=tpm)
        for kind in ("postgres", "memory")
    ]
    for seconds, call in [(0.0, (1, 1, False, 0, None)), *steps]:
        clock.now += seconds
        of_postgres, of_memory = [astuple(await answer(store, call)) for store in stores]
        assert [value is None for value in of_postgres] == [value is None for value in of_memory]
        assert [value or 0 for value in of_postgres] == pytest.approx([value or 0 for value in of_memory])


async def answer(store: LimitStore, call: tuple[Any, ...]) -> Lease | Pause:
    so_far = await store.reserve(0, 0)
    if len(call) == 3:
        age, later, wait = call
        return await store.rate_limited(age=age, requests=max(1, so_far.requests - later), wait=wait)
    requests, tokens, again, correction, seen = call
    observation = None
    if seen is not None:
        age, request_quota, token_quota = seen
        observation = Observation(age, so_far.requests, so_far.tokens, request_quota, token_quota)
    return await store.reserve(
        requests,
        tokens if requests else 0,
        place=Place(so_far.requests - requests, so_far.tokens - tokens) if again else None,
        token_correction=correction,
        observation=observation,
    )

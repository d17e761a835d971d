"""The model of a provider's rate limits, on a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_local.rate_limit import Limits, RateLimiter, duration


class Clock:
    """Seconds, as the test sets them."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admitted(limiter: RateLimiter, tokens: int = 1) -> int:
    """How many equal requests are admitted in a row."""
    number = 0
    while limiter.admit(tokens).admitted:
        number += 1
    return number


def test_a_request_too_many_is_refused_with_a_time_to_come_back(clock: Clock) -> None:
    limiter = RateLimiter(Limits(requests_per_minute=2), clock)
    assert limiter.admit(10).headers == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "30s",
    }
    limiter.admit(10)
    refused = limiter.admit(10)
    assert (refused.admitted, refused.wait_seconds, refused.exhausted) == (False, 30, "requests")
    assert refused.headers["retry-after-ms"] == "30000"
    assert refused.headers["retry-after"] == "30"
    assert refused.headers["x-ratelimit-reset-requests"] == "1m0s"
    assert refused.message.endswith("Please try again in 30s.")
    clock.now += 30
    assert limiter.admit(10).admitted


def test_a_refused_request_takes_from_neither_limit(clock: Clock) -> None:
    limiter = RateLimiter(Limits(requests_per_minute=10, tokens_per_minute=600), clock)
    limiter.admit(500)
    refused = limiter.admit(200)
    assert (refused.wait_seconds, refused.exhausted) == (10, "tokens")
    assert refused.headers["x-ratelimit-remaining-requests"] == "9"
    clock.now += 10
    assert limiter.admit(200).headers["x-ratelimit-remaining-tokens"] == "0"


def test_without_limits_everything_is_admitted_and_no_header_sent(clock: Clock) -> None:
    limiter = RateLimiter(Limits(), clock)
    decisions = [limiter.admit(10**9) for _ in range(1000)]
    assert all(decision.admitted for decision in decisions)
    assert [decision.headers for decision in decisions] == [{}] * 1000


def test_headers_and_the_time_to_wait_can_be_left_out(clock: Clock) -> None:
    silent = RateLimiter(Limits(requests_per_minute=1, headers=False, retry_after=False), clock)
    assert silent.admit(1).headers == {}
    refused = silent.admit(1)
    assert refused.headers == {}
    assert "try again" not in refused.message


@pytest.mark.parametrize(("burst_seconds", "starts_at", "number"), [(60, 1, 600), (60, 0.1, 60), (1, 1, 10)])
def test_a_bucket_starts_as_full_as_configured(
    clock: Clock, burst_seconds: float, starts_at: float, number: int
) -> None:
    limits = Limits(requests_per_minute=600, burst_seconds=burst_seconds, starts_at=starts_at)
    assert admitted(RateLimiter(limits, clock)) == number


def test_a_bucket_refills_evenly_and_holds_no_more_than_its_burst(clock: Clock) -> None:
    limiter = RateLimiter(Limits(requests_per_minute=600, burst_seconds=5), clock)
    assert admitted(limiter) == 50
    clock.now += 2
    assert admitted(limiter) == 20
    clock.now += 3600
    assert admitted(limiter) == 50


def test_a_window_forgets_each_request_after_a_minute(clock: Clock) -> None:
    limiter = RateLimiter(Limits(requests_per_minute=3, algorithm="window"), clock)
    limiter.admit(1)
    clock.now += 20
    assert admitted(limiter) == 2
    assert limiter.admit(1).wait_seconds == 40
    clock.now += 40
    assert admitted(limiter) == 1
    assert limiter.admit(1).headers["x-ratelimit-reset-requests"] == "1m0s"


@pytest.mark.parametrize(("algorithm", "first", "later"), [("bucket", 100, 60), ("window", 60, 60)])
def test_others_use_up_their_share_and_the_headers_do_not_say_so(
    clock: Clock, algorithm: str, first: int, later: int
) -> None:
    limits = Limits.model_validate(
        {"requests_per_minute": 100, "algorithm": algorithm, "other_users_share": 0.4}
    )
    limiter = RateLimiter(limits, clock)
    assert admitted(limiter) == first
    clock.now += 60
    assert limiter.admit(1).headers["x-ratelimit-limit-requests"] == "100"
    assert admitted(limiter) == later - 1


@pytest.mark.parametrize("algorithm", ["bucket", "window"])
def test_a_changed_limit_keeps_what_was_used_in_proportion(clock: Clock, algorithm: str) -> None:
    limits = Limits.model_validate({"requests_per_minute": 100, "algorithm": algorithm})
    limiter = RateLimiter(limits, clock)
    for _ in range(60):
        limiter.admit(1)
    limiter.change(limits.model_copy(update={"requests_per_minute": 200}))
    assert limiter.remaining() == pytest.approx({"requests": 80})
    limiter.change(limits.model_copy(update={"algorithm": "window"}))
    assert limiter.remaining() == pytest.approx({"requests": 40})
    limiter.change(Limits())
    assert limiter.remaining() == {}


@pytest.mark.parametrize("algorithm", ["bucket", "window"])
def test_a_request_larger_than_the_limit_passes_when_nothing_is_used(clock: Clock, algorithm: str) -> None:
    limiter = RateLimiter(Limits.model_validate({"tokens_per_minute": 600, "algorithm": algorithm}), clock)
    assert limiter.admit(1000).admitted
    assert not limiter.admit(1000).admitted
    assert limiter.remaining() == {"tokens": -400}


def test_tokens_are_counted_by_prompt_and_limit_or_by_use() -> None:
    by_prompt, by_usage = Limits(), Limits(counts="usage")
    assert by_prompt.count_tokens(prompt=100, answer_limit=0, completion=50) == 100
    assert by_prompt.count_tokens(prompt=100, answer_limit=300, completion=50) == 300
    assert by_usage.count_tokens(prompt=100, answer_limit=300, completion=50) == 150


@given(
    algorithm=st.sampled_from(["bucket", "window"]),
    arrivals=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 400)), max_size=60),
)
def test_no_minute_sees_more_than_the_limits_and_the_burst(
    algorithm: str, arrivals: list[tuple[float, int]]
) -> None:
    clock = Clock()
    limits = Limits.model_validate(
        {"requests_per_minute": 5, "tokens_per_minute": 1000, "algorithm": algorithm, "burst_seconds": 30}
    )
    limiter = RateLimiter(limits, clock)
    passed: list[tuple[float, int]] = []
    for gap, tokens in arrivals:
        clock.now += gap
        if limiter.admit(tokens).admitted:
            passed.append((clock.now, tokens))
    burst = 0.5 if algorithm == "bucket" else 0
    for start, _ in passed:
        minute = [tokens for at, tokens in passed if start <= at < start + 60]
        assert len(minute) <= 5 * (1 + burst)
        assert sum(minute) <= 1000 * (1 + burst) + 1e-6


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.012, "12ms"), (1.5, "1.5s"), (360, "6m0s"), (61.25, "1m1.25s")]
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text

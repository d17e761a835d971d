from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.limits.headers import (
    parse_duration,
    parse_number,
    rate_limit_wait,
    read_quota,
    retry_after,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HEADER_NAMES = [
    "retry-after",
    "retry-after-ms",
    *(
        f"x-ratelimit-{what}-{kind}"
        for what in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens")
    ),
]
anything = st.text() | st.from_regex(r"-?[\d.]+(ms|s|m|h)*", fullmatch=True) | st.floats().map(str)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("1s", 1),
        ("0s", 0),
        ("59", 59),
        ("1.5µs", 1.5e-6),
    ],
)
def test_durations_are_read_as_go_prints_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [None, "", "soon", "-1s", "1s later", "s", "1x", "inf", "nan", "1e5", "٣s"])
def test_what_is_no_duration_is_none(text: str | None) -> None:
    assert parse_duration(text) is None


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59_999))
def test_any_duration_is_read_back(hours: int, minutes: int, milliseconds: int) -> None:
    text = f"{hours}h{minutes}m{milliseconds / 1000}s"
    assert parse_duration(text) == pytest.approx(hours * 3600 + minutes * 60 + milliseconds / 1000)


@pytest.mark.parametrize("edge", ["\x1c", "\x1f", "\x85", "\u2003"])
def test_white_space_around_a_number_is_no_harm_even_where_float_does_not_know_it(edge: str) -> None:
    assert parse_number(f"{edge}20{edge}") == 20


@given(anything)
def test_garbage_never_raises_and_never_gives_a_negative_or_infinite_time(text: str) -> None:
    for value in (parse_number(text), parse_duration(text)):
        assert value is None or 0 <= value < float("inf")


@given(st.dictionaries(st.sampled_from(HEADER_NAMES), anything))
def test_garbage_in_any_header_leaves_a_positive_wait_or_none(headers: dict[str, str]) -> None:
    for wait in (rate_limit_wait(headers), retry_after(headers, NOW)):
        assert wait is None or 0 < wait < float("inf")


def test_retry_after_is_understood_in_milliseconds_seconds_and_as_a_date() -> None:
    date = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}, NOW) == 0.25
    assert retry_after({"retry-after": "20"}, NOW) == 20
    assert retry_after({"retry-after": date}, NOW) == 90


def test_a_retry_after_of_zero_or_in_the_past_names_no_time() -> None:
    past = format_datetime(NOW - timedelta(seconds=1), usegmt=True)
    assert retry_after({"retry-after": "0"}, NOW) is None
    assert retry_after({"retry-after": past}, NOW) is None


def test_without_retry_after_the_reset_of_what_is_used_up_counts() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "17",
        "x-ratelimit-reset-requests": "6m0s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "800ms",
    }
    assert rate_limit_wait(headers) == pytest.approx(0.8)
    assert rate_limit_wait({**headers, "x-ratelimit-remaining-tokens": "900"}) is None
    assert rate_limit_wait({**headers, "retry-after": "2"}) == 2


def test_a_quota_holds_what_was_said_and_none_for_the_rest() -> None:
    quota = read_quota(
        {"x-ratelimit-limit-requests": "500", "x-ratelimit-reset-requests": "120ms"}, "requests"
    )
    assert (quota.limit, quota.remaining) == (500, None)
    assert quota.reset == pytest.approx(0.12)

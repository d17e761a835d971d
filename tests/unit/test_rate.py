"""The rate of the last minute, and when it tells how long the rest takes."""

import pytest

from aboutness_assets.pipeline.rate import Rate


def watched(written_at: dict[float, int], until: float) -> Rate:
    """A rate that was looked at four times a second; written_at: rows in all from a time on."""
    rate, written = Rate(0.0), 0
    for number in range(1, int(until * 4) + 1):
        now = number / 4
        written = max([written, *(rows for at, rows in written_at.items() if at <= now)])
        rate.look(now, written)
    return rate


def evenly(rows: int, every: float, first: float, last: float) -> dict[float, int]:
    return {first + n * every: rows * (n + 1) for n in range(int((last - first) / every) + 1)}


def test_the_seconds_before_the_first_rows_do_not_count() -> None:
    assert watched(evenly(10, 1, first=8, last=40), 40).per_second == pytest.approx(10, rel=0.01)


def test_only_the_last_minute_counts() -> None:
    slow_then_fast = evenly(1, 1, 1, 100) | {100 + n: 100 + 20 * n for n in range(1, 71)}
    assert watched(slow_then_fast, 170).per_second == pytest.approx(20, rel=0.02)


def test_rows_that_come_at_once_are_counted_from_the_beginning() -> None:
    assert watched({4: 50}, 5).per_second == pytest.approx(10)


def test_the_first_rows_make_no_spike() -> None:
    for until in range(6, 30):
        assert watched({5: 100, 5.5: 200, 6: 300} | evenly(10, 1, 7, 60), until).per_second < 60


def test_nothing_is_foretold_before_ten_seconds_and_three_arrivals_or_at_a_standstill() -> None:
    assert watched(evenly(10, 1, 1, 8), 8).settled is None
    assert watched({1: 500, 10: 1000}, 30).settled is None
    assert watched(evenly(10, 1, 1, 30), 120).settled is None
    assert watched({}, 100).settled is None


@pytest.mark.parametrize("every", [0.5, 3, 12])
def test_what_is_foretold_does_not_double_in_the_first_minutes(every: float) -> None:
    rates = []
    for until in range(2, 150):
        rate = watched(evenly(round(10 * every), every, first=5, last=200), until)
        if rate.settled is not None:
            rates.append(rate.settled)
    assert max(rates) < 1.5 * min(rates)

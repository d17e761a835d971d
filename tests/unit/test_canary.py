"""Which ranges a canary fills, and what its table says of them."""

import pytest

from aboutness_assets.acceptance.canary import time_at_measured_rate, verdict_lines, written_lines
from aboutness_assets.acceptance.criteria import NEW_ROW_CRITERIA, OLD_STYLE_ROWS_UNTOUCHED, READY_TO_ENABLE
from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.domain.songs import FailedSong
from aboutness_assets.pipeline.canary import RangeLeft, choose_canary_ranges
from aboutness_assets.pipeline.report import Report


def chosen(left: list[int], number: int) -> list[int]:
    ranges = [RangeLeft(str(place), songs_left) for place, songs_left in enumerate(left)]
    return [int(each.key) for each in choose_canary_ranges(ranges, number)]


@pytest.mark.parametrize(
    ("left", "number", "places"),
    [
        ([1000] * 9, 1, [4]),
        ([1000] * 9, 3, [1, 4, 7]),
        ([1000] * 114, 3, [19, 57, 95]),
        ([1000] * 2, 3, [0, 1]),
        ([950, 0, 1000, 3, 1000, 499], 3, [0, 2, 4]),
        ([3, 0, 1], 3, [0]),
        ([0, 0], 3, []),
        ([], 3, []),
    ],
)
def test_ranges_are_spread_over_those_that_are_mostly_left(
    left: list[int], number: int, places: list[int]
) -> None:
    assert chosen(left, number) == places


def report(written: int, *, start: float = 0, seconds: float = 10, packs: int = 5, alone: int = 0) -> Report:
    return Report(
        songs_in_range=50,
        songs_written=written,
        batch_requests=packs,
        single_song_requests=alone,
        started_at=start,
        seconds=seconds,
        cost_usd=0.01,
    )


def outcomes(*reports: Report) -> dict[str, str]:
    return {
        each.check: each.outcome
        for each in written_lines({str(key): one for key, one in enumerate(reports)}, 10)
    }


def test_what_was_written_passes_and_its_rate_is_over_all_ranges_at_once() -> None:
    reports = {"a": report(50), "b": report(50, start=5, seconds=15)}
    lines = {each.check: each for each in written_lines(reports, 10)}
    assert {each.outcome for each in lines.values()} == {"pass", "info"}
    assert lines["rows written"].found == "100 of 100 in 20.0 s, 5.0 per second"
    assert lines["spent"].found == "$0.0200"
    assert time_at_measured_rate(36_000, reports).found.startswith("2.0 h at 5.0 songs per second")


def test_nothing_written_and_packs_of_no_use_fail_and_a_failed_song_warns() -> None:
    assert outcomes(report(0))["rows written"] == "fail"
    assert outcomes(report(50, alone=26))["batch path used"] == "fail"
    failed = report(49)
    failed.failed.append(FailedSong(1, "refused", "a reason"))
    assert outcomes(failed)["failed songs"] == "warn"


def test_dollars_that_are_not_known_are_not_summed() -> None:
    unknown = report(50)
    unknown.cost_usd = None
    lines = {each.check: each.found for each in written_lines({"a": report(50), "b": unknown}, 10)}
    assert lines["spent"] == "cost unknown"


def test_a_criterion_fails_a_canary_and_readiness_does_not() -> None:
    verdicts = [
        Verdict(NEW_ROW_CRITERIA[0], False, "1 new rows violate it."),
        Verdict(OLD_STYLE_ROWS_UNTOUCHED, True, "None was added."),
        Verdict(READY_TO_ENABLE, False, "too few rows"),
    ]
    assert [(each.check, each.outcome) for each in verdict_lines(verdicts)] == [
        ("emotions_text_within_100_chars", "fail"),
        ("old_style_rows_untouched", "pass"),
    ]

import pytest

from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.verdicts import (
    IDS_SHOWN,
    Verdict,
    acceptance_table,
    old_style_verdict,
    ready_verdict,
    smoke_criteria,
    text_verdicts,
    verdict_table,
)
from aboutness_assets.database.service.text_criteria import TEXT_CRITERIA, TextCounts
from aboutness_assets.pipeline.report import Report

UNTOUCHED = OldStyleComparison(65, [], [])


def counts(new_rows: int = 50, **violations: int) -> TextCounts:
    found = dict.fromkeys(TEXT_CRITERIA, 0) | violations
    return TextCounts(new_rows, 65, found, {name: [7, 8] for name, count in found.items() if count})


def test_each_text_criterion_has_a_verdict_of_its_own() -> None:
    verdicts = {
        verdict.name: verdict
        for verdict in text_verdicts(counts(moments_text_within_100_chars=2), "the whole table")
    }

    assert verdicts.keys() == TEXT_CRITERIA.keys()
    assert [name for name, verdict in verdicts.items() if not verdict.passed] == [
        "moments_text_within_100_chars"
    ]
    failed = verdicts["moments_text_within_100_chars"]
    assert failed.description == "2 of 50 new rows violate it."
    assert failed.details == {
        "rows_violating": 2,
        "new_rows_looked_at": 50,
        "looked_at": "the whole table",
        "song_ids": ["7", "8"],
    }


def test_untouched_old_style_rows_pass() -> None:
    verdict = old_style_verdict(UNTOUCHED)

    assert verdict.passed
    assert "65" in verdict.description


@pytest.mark.parametrize(
    "comparison",
    [
        OldStyleComparison(65, ["3"], []),
        OldStyleComparison(65, [], ["3"]),
        OldStyleComparison(65, [], [], "a column is gone"),
    ],
)
def test_old_style_rows_that_changed_or_are_gone_fail(comparison: OldStyleComparison) -> None:
    verdict = old_style_verdict(comparison)

    assert not verdict.passed
    assert comparison.problem in verdict.description
    assert verdict.details["song_ids"] == comparison.changed + comparison.gone


def test_a_verdict_names_only_the_first_broken_rows() -> None:
    verdict = old_style_verdict(OldStyleComparison(65, [str(number) for number in range(60)], []))

    assert verdict.details["rows_changed"] == 60
    assert verdict.details["song_ids"] == [str(number) for number in range(IDS_SHOWN)]


@pytest.mark.parametrize(
    ("songs", "rows", "passed"), [(100, 50, True), (100, 49, False), (0, 0, False), (1, 1, True)]
)
def test_half_of_the_catalogue_makes_it_ready(songs: int, rows: int, passed: bool) -> None:
    verdict = ready_verdict(songs, rows, text_verdicts(counts(), "all"), estimated=False)

    assert verdict.passed is passed


def test_it_is_not_ready_while_another_criterion_fails() -> None:
    others = text_verdicts(counts(emotions_text_within_100_chars=1), "all")

    verdict = ready_verdict(100, 100, others, estimated=False)

    assert not verdict.passed
    assert "emotions_text_within_100_chars" in verdict.description


def failing(report: Report, rows: TextCounts, old_style: OldStyleComparison = UNTOUCHED) -> list[str]:
    return [line.name for line in smoke_criteria(report, rows, old_style, 10) if not line.passed]


def test_a_good_smoke_run_passes_every_criterion() -> None:
    report = Report(songs_in_range=50, songs_written=50, batch_requests=5)

    criteria = smoke_criteria(report, counts(), UNTOUCHED, 10)

    assert [line.name for line in criteria if not line.passed] == []
    assert {*TEXT_CRITERIA, "old_style_rows_untouched"} <= {line.name for line in criteria}
    [batch] = [line for line in criteria if line.name == "batch path used"]
    assert batch.threshold.startswith("5 requests for 50 songs")
    assert batch.measured == "5 batch, 0 single-song requests"


def test_each_criterion_of_a_smoke_run_can_fail() -> None:
    report = Report(songs_in_range=50, batch_requests=5)

    assert failing(report, counts(new_rows=49)) == ["every song has a row"]
    assert failing(Report(songs_in_range=50, batch_requests=5, single_song_requests=26), counts()) == [
        "batch path used"
    ]
    assert failing(report, counts(emotions_text_without_confidence_tag=1)) == [
        "emotions_text_without_confidence_tag"
    ]
    assert failing(report, counts(), OldStyleComparison(65, ["1"], [])) == ["old_style_rows_untouched"]


def test_a_smoke_run_on_a_finished_catalogue_passes() -> None:
    assert failing(Report(), counts(new_rows=0)) == []


def test_tables_show_what_failed() -> None:
    criteria = smoke_criteria(Report(songs_in_range=50), counts(new_rows=49), UNTOUCHED, 10)

    head, rule, first, *_ = acceptance_table(criteria).splitlines()

    assert [cell.strip() for cell in head.split("|")] == ["criterion", "threshold", "measured", "pass"]
    assert set(rule) == {"-", "+"}
    assert [cell.strip() for cell in first.split("|")] == ["every song has a row", "all 50", "49", "NO"]
    assert verdict_table([Verdict("a check", True, "fine")]).splitlines()[-1].split(" | ") == [
        "a check",
        "fine    ",
        "yes",
    ]

"""The acceptance table of a smoke run."""

from collections import Counter

from aboutness_assets.acceptance.looks import OLD_STYLE_ROW_ADDED, Look
from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.smoke import acceptance_table, smoke_lines
from aboutness_assets.database.service.row_criteria import NEW_ROW_CRITERIA
from aboutness_assets.pipeline.report import Report

UNTOUCHED = OldStyleComparison(65, 65)


def looked(rows: int = 50, **violations: int) -> Look:
    return Look(rows, Counter(violations))


def failing(report: Report, look: Look, old_style: OldStyleComparison = UNTOUCHED) -> list[str]:
    return [line.name for line in smoke_lines(report, look, old_style, 10) if not line.passed]


def test_a_good_smoke_run_passes_every_criterion() -> None:
    report = Report(songs_in_range=50, songs_written=50, batch_requests=5)

    lines = smoke_lines(report, looked(), UNTOUCHED, 10)

    assert [line.name for line in lines if not line.passed] == []
    assert {*NEW_ROW_CRITERIA, "old_style_rows_untouched"} <= {line.name for line in lines}
    [batch] = [line for line in lines if line.name == "batch path used"]
    assert batch.threshold.startswith("5 requests for 50 songs")
    assert batch.measured == "5 batch, 0 single-song requests"


def test_each_criterion_of_a_smoke_run_can_fail() -> None:
    report = Report(songs_in_range=50, batch_requests=5)

    assert failing(report, looked(rows=49)) == ["every song has a row"]
    assert failing(Report(songs_in_range=50, batch_requests=5, single_song_requests=26), looked()) == [
        "batch path used"
    ]
    assert failing(report, looked(emotions_text_without_confidence_tag=1)) == [
        "emotions_text_without_confidence_tag"
    ]
    assert failing(report, looked(), OldStyleComparison(65, 65, ["1"])) == ["old_style_rows_untouched"]
    assert failing(report, looked(**{OLD_STYLE_ROW_ADDED: 1})) == ["old_style_rows_untouched"]
    assert failing(report, looked(new_rows_complete=1)) == ["new_rows_complete"]


def test_a_smoke_run_on_a_finished_catalogue_passes() -> None:
    assert failing(Report(), looked(rows=0)) == []


def test_the_table_shows_what_was_demanded_measured_and_failed() -> None:
    lines = smoke_lines(Report(songs_in_range=50), looked(rows=49), UNTOUCHED, 10)

    head, rule, first, *_ = acceptance_table(lines).splitlines()

    assert [cell.strip() for cell in head.split("|")] == ["criterion", "threshold", "measured", "pass"]
    assert set(rule) == {"-", "+"}
    assert [cell.strip() for cell in first.split("|")] == ["every song has a row", "all 50", "49", "NO"]

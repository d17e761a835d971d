"""The acceptance table of a smoke run."""

from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.smoke import acceptance_table, smoke_lines
from aboutness_assets.database.service.text_criteria import TEXT_CRITERIA, TextCounts
from aboutness_assets.pipeline.report import Report

UNTOUCHED = OldStyleComparison(65, [], [])


def counts(new_rows: int = 50, **violations: int) -> TextCounts:
    return TextCounts(new_rows, dict.fromkeys(TEXT_CRITERIA, 0) | violations, {})


def failing(report: Report, rows: TextCounts, old_style: OldStyleComparison = UNTOUCHED) -> list[str]:
    return [line.name for line in smoke_lines(report, rows, old_style, 10) if not line.passed]


def test_a_good_smoke_run_passes_every_criterion() -> None:
    report = Report(songs_in_range=50, songs_written=50, batch_requests=5)

    lines = smoke_lines(report, counts(), UNTOUCHED, 10)

    assert [line.name for line in lines if not line.passed] == []
    assert {*TEXT_CRITERIA, "old_style_rows_untouched"} <= {line.name for line in lines}
    [batch] = [line for line in lines if line.name == "batch path used"]
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


def test_the_table_shows_what_was_demanded_measured_and_failed() -> None:
    lines = smoke_lines(Report(songs_in_range=50), counts(new_rows=49), UNTOUCHED, 10)

    head, rule, first, *_ = acceptance_table(lines).splitlines()

    assert [cell.strip() for cell in head.split("|")] == ["criterion", "threshold", "measured", "pass"]
    assert set(rule) == {"-", "+"}
    assert [cell.strip() for cell in first.split("|")] == ["every song has a row", "all 50", "49", "NO"]

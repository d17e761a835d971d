import re
from datetime import UTC, datetime

import pytest

from aboutness_assets.acceptance import criteria
from aboutness_assets.acceptance.coverage import Coverage
from aboutness_assets.acceptance.looks import OLD_STYLE_ROW_ADDED, Look
from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.verdicts import (
    IDS_SHOWN,
    LookedAt,
    Verdict,
    failed_songs_verdict,
    new_row_verdicts,
    old_style_verdict,
    ready_verdict,
    verdict_table,
)
from aboutness_assets.database.operations.verification import WholeLook
from aboutness_assets.database.service.row_criteria import NEW_ROW_CRITERIA

UNTOUCHED = OldStyleComparison(65, 65)
MORNING = datetime(2026, 11, 25, 8, 30, tzinfo=UTC)
EVERYTHING = LookedAt(WholeLook(MORNING, 50))


def found(**violations: int) -> Look:
    look = Look(rows=50)
    for name, count in violations.items():
        for number in range(count):
            look.add(name, str(7 + number))
    return look


def on_rows(**violations: int) -> list[Verdict]:
    return new_row_verdicts(found(**violations), EVERYTHING)


def test_each_criterion_on_new_rows_has_a_verdict_of_its_own() -> None:
    verdicts = {verdict.name: verdict for verdict in on_rows(moments_text_within_100_chars=2)}

    assert verdicts.keys() == set(NEW_ROW_CRITERIA)
    assert [name for name, verdict in verdicts.items() if not verdict.passed] == [
        "moments_text_within_100_chars"
    ]
    failed = verdicts["moments_text_within_100_chars"]
    assert failed.description == "2 new rows violate it. Looked at: the whole table, 50 rows."
    assert failed.details == {
        "rows_violating": 2,
        "rows_looked_at": 50,
        "looked_at": "the whole table, 50 rows",
        "song_ids": ["7", "8"],
    }


def test_a_verdict_after_a_range_says_what_it_rests_on() -> None:
    [verdict, *_] = new_row_verdicts(Look(rows=20), LookedAt(WholeLook(MORNING, 5_000), 2, 20))

    assert verdict.passed
    assert verdict.description == (
        "No new row violates it. Looked at: 20 rows of 2 ranges; the whole table, 5000 rows, at "
        "2026-11-25 08:30 UTC."
    )


def test_untouched_old_style_rows_pass() -> None:
    verdict = old_style_verdict(UNTOUCHED, Look(), EVERYTHING)

    assert verdict.passed
    assert "65 of 65" in verdict.description


@pytest.mark.parametrize(
    ("comparison", "look"),
    [
        (OldStyleComparison(65, 65, ["7"], []), Look()),
        (OldStyleComparison(65, 65, [], ["7"]), Look()),
        (UNTOUCHED, found(**{OLD_STYLE_ROW_ADDED: 1})),
    ],
)
def test_old_style_rows_that_changed_are_gone_or_were_added_fail(
    comparison: OldStyleComparison, look: Look
) -> None:
    verdict = old_style_verdict(comparison, look, EVERYTHING)

    assert not verdict.passed
    assert verdict.details["song_ids"] == ["7"]


def test_old_style_rows_that_cannot_be_compared_fail() -> None:
    verdict = old_style_verdict(OldStyleComparison(65, 0, problem="a column is gone"), Look(), EVERYTHING)

    assert not verdict.passed
    assert "a column is gone" in verdict.description


def test_a_verdict_names_only_the_first_broken_rows() -> None:
    broken = OldStyleComparison(65, 65, [str(number) for number in range(60)])

    verdict = old_style_verdict(broken, Look(), EVERYTHING)

    assert verdict.details["rows_changed"] == 60
    assert verdict.details["song_ids"] == [str(number) for number in range(IDS_SHOWN)]


@pytest.mark.parametrize(
    ("songs", "rows", "passed"), [(100, 50, True), (100, 49, False), (0, 0, False), (1, 1, True)]
)
def test_half_of_the_catalogue_makes_it_ready(songs: int, rows: int, passed: bool) -> None:
    assert ready_verdict(Coverage(songs, rows), on_rows()).passed is passed


def test_a_little_less_than_half_is_not_shown_as_half() -> None:
    verdict = ready_verdict(Coverage(100_000, 49_999), on_rows())

    assert not verdict.passed
    assert "(49.9%)" in verdict.description


def test_it_is_not_ready_while_another_criterion_fails() -> None:
    verdict = ready_verdict(Coverage(100, 100), on_rows(new_rows_complete=1))

    assert not verdict.passed
    assert "new_rows_complete" in verdict.description


def test_the_table_shows_what_was_found_and_what_failed() -> None:
    verdicts = [
        old_style_verdict(OldStyleComparison(1, 1, ["3"]), Look(), EVERYTHING),
        failed_songs_verdict({}, 0, []),
    ]

    head, rule, first, second = [
        [cell.strip() for cell in re.split(r" \| |-\+-", line)]
        for line in verdict_table(verdicts).splitlines()
    ]

    assert head == ["check", "found", "pass"]
    assert set("".join(rule)) == {"-"}
    assert first == ["old_style_rows_untouched", verdicts[0].description, "NO"]
    assert second == ["no_failed_songs", "No song is recorded as failed.", "yes"]


def test_failed_songs_are_counted_per_cause() -> None:
    verdict = failed_songs_verdict({"invalid": 2, "refused": 1}, 2, [])

    assert not verdict.passed
    assert verdict.description == "3 songs failed and have no row: 2 invalid, 1 refused."
    assert verdict.details == {"songs_failed": 3, "songs_in_quarantine": 2, "invalid": 2, "refused": 1}


def test_every_criterion_on_new_rows_has_its_condition_in_sql() -> None:
    assert tuple(criterion.name for criterion in criteria.NEW_ROW_CRITERIA) == NEW_ROW_CRITERIA


def test_the_contract_names_the_checks_and_those_that_only_warn() -> None:
    warnings = {criterion.name: criterion.warns_only for criterion in criteria.CRITERIA}

    assert warnings == {
        "emotions_text_within_100_chars": False,
        "moments_text_within_100_chars": False,
        "emotions_text_without_confidence_tag": False,
        "moments_text_without_confidence_tag": False,
        "new_rows_complete": False,
        "old_style_rows_untouched": False,
        "ready_to_enable": True,
        "no_failed_songs": True,
    }

import re

import pytest

from aboutness_assets.acceptance import criteria
from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.verdicts import (
    IDS_SHOWN,
    failed_songs_verdict,
    old_style_verdict,
    ready_verdict,
    text_verdicts,
    verdict_table,
)
from aboutness_assets.database.service.text_criteria import TEXT_CRITERIA, TextCounts

UNTOUCHED = OldStyleComparison(65, [], [])


def counts(new_rows: int = 50, **violations: int) -> TextCounts:
    found = dict.fromkeys(TEXT_CRITERIA, 0) | violations
    return TextCounts(new_rows, found, {name: [7, 8] for name, count in found.items() if count})


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


def test_the_table_shows_what_was_found_and_what_failed() -> None:
    verdicts = [old_style_verdict(OldStyleComparison(1, ["3"], [])), failed_songs_verdict({}, [])]

    head, rule, first, second = [
        [cell.strip() for cell in re.split(r" \| |-\+-", line)]
        for line in verdict_table(verdicts).splitlines()
    ]

    assert head == ["check", "found", "pass"]
    assert set("".join(rule)) == {"-"}
    assert first == ["old_style_rows_untouched", verdicts[0].description, "NO"]
    assert second == ["no_failed_songs", "No song is recorded as failed.", "yes"]


def test_failed_songs_are_counted_per_cause() -> None:
    verdict = failed_songs_verdict({"invalid": 2, "refused": 1}, [])

    assert not verdict.passed
    assert verdict.description == "3 songs failed and have no row: 2 invalid, 1 refused."
    assert verdict.details == {"songs_failed": 3, "songs_in_quarantine": 0, "invalid": 2, "refused": 1}


def test_every_text_criterion_has_its_condition_in_sql() -> None:
    assert {criterion.name for criterion in criteria.TEXT_CRITERIA} == TEXT_CRITERIA.keys()


def test_the_contract_names_the_checks_and_those_that_only_warn() -> None:
    warnings = {criterion.name: criterion.warns_only for criterion in criteria.CRITERIA}

    assert warnings == {
        "emotions_text_within_100_chars": False,
        "moments_text_within_100_chars": False,
        "emotions_text_without_confidence_tag": False,
        "moments_text_without_confidence_tag": False,
        "old_style_rows_untouched": False,
        "ready_to_enable": True,
        "no_failed_songs": True,
    }

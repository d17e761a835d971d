"""What ready_to_enable shows: true in every case, well-formed, and short."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.acceptance.coverage import Coverage
from aboutness_assets.acceptance.readiness import Readiness
from aboutness_assets.orchestration.readiness_picture import next_step, readiness_markdown, readiness_svg

PASSING = {"new_rows_complete": True, "old_style_rows_untouched": True}


def words_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.text]


def test_a_table_that_is_ready_says_so_with_counted_numbers() -> None:
    shown = readiness_markdown(Readiness(Coverage(2323, 1764), PASSING))

    sentence, _, picture, *_ = shown.splitlines()
    assert sentence.startswith("**READY.** Next: the service's search may be switched over")
    assert picture.startswith("![READY](data:image/svg+xml;base64,")
    assert "| songs with a row, at least half | 1,764 of 2,323 (75.9 %) | yes |" in shown
    assert "NO" not in re.sub(r"\(data:[^)]*\)", "", shown)


def test_the_picture_in_the_markdown_is_the_picture() -> None:
    readiness = Readiness(Coverage(2323, 1764), PASSING)
    [data] = re.findall(r"base64,([^)]*)", readiness_markdown(readiness))
    assert base64.b64decode(data).decode() == readiness_svg(readiness)
    assert words_of(readiness_svg(readiness)) == ["READY", "1,764 of 2,323 songs: 75.9 %", "50% needed"]


@pytest.mark.parametrize(
    ("coverage", "criteria", "words"),
    [
        (Coverage(1001, 500), PASSING, "until half of the songs have one: 1."),
        (Coverage(0, 0), PASSING, "the catalogue has no song"),
        (Coverage(10, 1), PASSING | {"new_rows_complete": False}, "see [new_rows_complete](/assets/"),
        (Coverage(10, 9), PASSING | {"old_style_rows_untouched": False}, "see [old_style_rows_untouched](/"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(
    coverage: Coverage, criteria: dict[str, bool], words: str
) -> None:
    readiness = Readiness(coverage, criteria)
    shown = readiness_markdown(readiness)
    assert shown.startswith("**NOT YET.** Next: ")
    assert words in next_step(readiness)
    assert "**NO** |" in shown


@given(st.integers(0, 10**9), st.floats(0, 1), st.booleans())
def test_no_number_of_songs_is_shown_as_more_than_it_is(songs: int, share: float, passes: bool) -> None:
    readiness = Readiness(Coverage(songs, int(songs * share)), PASSING | {"new_rows_complete": passes})
    svg = readiness_svg(readiness)
    assert readiness.percent <= (100 * readiness.coverage.with_row / songs if songs else 0)
    assert (words_of(svg)[0] == "READY") == readiness.is_ready
    assert not (readiness.is_ready and (readiness.percent < 50 or readiness.rows_missing or not passes))
    assert len(svg) < 1200

"""Words from outside that a log, a terminal, Postgres and the UI show and do not obey."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from aboutness_assets.domain.printable import printable_line
from aboutness_assets.domain.songs import Aboutness, FailedSong, Song
from aboutness_assets.orchestration.markdown import failed_songs_table, sample_table
from aboutness_assets.pipeline.report import Report
from tests.support.hostile_words import HOSTILE_WORDS

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
ABOUT = Aboutness("calm", "low", "at dawn", "high")

# What the webserver's bundle of Dagster 1.13.27 makes a link of, in text that is none yet
# (mdast-util-gfm-autolink-literal, transformGfmAutolinkLiterals).
AUTOLINK = re.compile(
    r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)|(?:(?<=^)|(?<=\W))([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)",
    re.IGNORECASE,
)


@given(ANY_TEXT)
def test_what_is_inert_is_one_printable_line_that_stays_as_it_is(words: str) -> None:
    text = printable_line(words)
    assert text.isprintable()
    assert printable_line(text) == text
    assert text.encode().decode() == text


def test_words_that_do_no_harm_stay_as_they_are() -> None:
    words = "Sigur Rós – Ára bátur; 夜に駆ける (لا)"
    assert printable_line(words) == words


@given(ANY_TEXT)
def test_the_reason_of_a_failure_is_inert_wherever_it_comes_from(reason: str) -> None:
    assert FailedSong(1, "refused", reason).reason == printable_line(reason)


@pytest.mark.parametrize("words", HOSTILE_WORDS)
def test_hostile_words_do_not_render_in_the_tables_of_the_ui(words: str) -> None:
    report = Report(
        failed=[FailedSong(words, "refused", f"the model refused: {words}")],
        sample=[(Song(words, words, words), ABOUT)],
    )
    shown = " ".join(printable_line(words)[:200].split())
    [failed] = rows_of(failed_songs_table(report))
    assert [failed[0], failed[2]] == [shown, f"the model refused: {shown}"[:200].rstrip()]
    [sample] = rows_of(sample_table(report))
    assert sample == [shown, shown, shown, "calm (low)", "at dawn (high)"]


@given(ANY_TEXT)
def test_no_words_at_all_render(words: str) -> None:
    [row] = rows_of(sample_table(Report(sample=[(Song(1, words, "x"), ABOUT)])))
    assert row[1] == printable_line(words[:200])


def rows_of(table: str) -> list[list[str]]:
    """The cells of a Markdown table as a reader sees them; fails where one of them is more than text."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(table)
    assert {token.tag for token in tokens} <= {"table", "thead", "tbody", "tr", "th", "td", ""}
    cells = [token for token in tokens if token.type == "inline"]
    for cell in cells:
        assert {child.type for child in cell.children or ()} <= {"text"}
    texts = ["".join(child.content for child in cell.children or ()) for cell in cells]
    assert not any(AUTOLINK.search(text) for text in texts)
    shown = [text.replace("\u2060", "") for text in texts]
    width = table.splitlines()[0].count("|") - 1
    return [shown[start : start + width] for start in range(width, len(shown), width)]

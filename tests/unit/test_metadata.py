"""How reports look in Dagster's UI."""

from __future__ import annotations

import re

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.songs import Aboutness, FailedSong, Song
from aboutness_assets.orchestration.markdown import FAILED_SONGS_SHOWN, failed_songs_table, sample_table
from aboutness_assets.orchestration.metadata import materialization_metadata
from aboutness_assets.pipeline.report import Report

MODELS = ("a-chat-model", "an-embedding-model")
ABOUT = Aboutness("warm joy", "high", "a rainy night drive", "low")

WORDS = st.text(st.sampled_from("\\|`*_{}[]<>()#+!~&-\n\u2028@ ahttpw:/.") | st.characters())

UNESCAPED_MARKUP = re.compile(r"(?<!\\)(?:\\\\)*[`*_{}\[\]<>()#+!|~&]")


def cells(row: str) -> list[str]:
    """The cells of a row, split at unescaped pipes."""
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", row)[1:-1]]


def test_metadata_of_a_range_with_nothing_to_do_is_numbers_without_tables() -> None:
    metadata = materialization_metadata(Report(songs_in_range=3, songs_skipped_existing=3), *MODELS)
    assert metadata["dagster/row_count"] == 3
    assert metadata["cost_usd"] == 0
    assert not {"failed_songs", "sample"} & set(metadata)
    texts = {name for name, value in metadata.items() if not isinstance(value, (int, float))}
    assert texts == {"texts_by", "vectors_by", "prices_from"}


def test_an_unknown_cost_is_null_and_not_zero() -> None:
    metadata = materialization_metadata(Report(cost_usd=None), *MODELS)
    assert isinstance(metadata["cost_usd"], dg.NullMetadataValue)


def test_a_long_table_of_failed_songs_is_cut_and_says_how_many_are_left_out() -> None:
    failed = [FailedSong(number, "refused", "the model refused") for number in range(FAILED_SONGS_SHOWN + 7)]
    lines = failed_songs_table(Report(failed=failed)).splitlines()
    assert cells(lines[2]) == ["0", "refused", "the model refused"]
    assert len([line for line in lines if line.startswith("| ")]) == FAILED_SONGS_SHOWN + 1
    assert "7 more" in lines[-1]


@given(WORDS, WORDS, WORDS)
def test_no_title_or_artist_adds_a_cell_or_renders_as_markup(song_id: str, title: str, artist: str) -> None:
    head, rule, *rows = sample_table(Report(sample=[(Song(song_id, title, artist), ABOUT)])).split("\n")
    assert len(rows) == 1
    assert len(cells(rows[0])) == len(cells(head)) == len(cells(rule)) == 5
    for cell in cells(rows[0])[:3]:
        assert not UNESCAPED_MARKUP.search(cell)


@pytest.mark.parametrize("address", ["http://a.example", "HTTPS://a.example", "www.a.example", "a@b.example"])
def test_an_address_in_a_title_makes_no_link(address: str) -> None:
    table = sample_table(Report(sample=[(Song(1, address, ""), ABOUT)]))
    assert address not in table
    assert address in table.replace("\u2060", "")

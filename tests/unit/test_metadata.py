"""How reports look in Dagster's UI."""

from __future__ import annotations

import re

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.songs import Aboutness, FailedSong, Song
from aboutness_assets.orchestration.markdown import FAILED_SONGS_SHOWN, failed_songs_table, sample_table
from aboutness_assets.orchestration.metadata import (
    materialization_metadata,
    range_materialization,
    three_digits,
)
from aboutness_assets.pipeline.report import Report
from aboutness_assets.settings import load_settings

MODELS = ("a-chat-model", "an-embedding-model")
ABOUT = Aboutness("warm joy", "high", "a rainy night drive", "low")

WORDS = st.text(st.sampled_from("\\|`*_{}[]<>()#+!~&-\n\u2028@ ahttpw:/.") | st.characters())

UNESCAPED_MARKUP = re.compile(r"(?<!\\)(?:\\\\)*[`*_{}\[\]<>()#+!|~&]")


def cells(row: str) -> list[str]:
    """The cells of a row, split at unescaped pipes."""
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", row)[1:-1]]


def test_metadata_begins_with_the_six_numbers_that_matter_and_ends_with_one_entry_for_the_rest() -> None:
    metadata = materialization_metadata(Report(songs_in_range=3, songs_skipped_existing=3), *MODELS)
    assert list(metadata) == [
        "songs_written",
        "songs_failed",
        "songs_skipped_existing",
        "songs_in_range",
        "cost_usd",
        "songs_per_second",
        "batch_requests",
        "single_song_requests",
        "embedding_requests",
        "prompt_tokens",
        "completion_tokens",
        "embedding_tokens",
        "details",
    ]
    assert all(isinstance(value, int | float) for value in list(metadata.values())[:-1])
    assert metadata["details"].keys() == {"texts_by", "vectors_by", "prices_from", "cached_tokens"}


def test_numbers_that_are_seldom_above_zero_are_shown_where_they_are() -> None:
    report = Report(
        answers_replayed=2, uncertain_requests=1, uncertain_usd=0.00012345, rate_limited_requests=4
    )
    metadata = materialization_metadata(report, *MODELS)
    found = {name: metadata[name] for name in list(metadata)[12:-1]}
    assert found == {
        "answers_replayed": 2,
        "uncertain_requests": 1,
        "uncertain_usd": 0.000123,
        "rate_limited_requests": 4,
    }


def test_figures_have_no_more_digits_than_a_person_reads() -> None:
    report = Report(cost_usd=0.00068821999, songs_per_second=20.842713)
    metadata = materialization_metadata(report, *MODELS)
    assert (metadata["cost_usd"], metadata["songs_per_second"]) == (0.000688, 20.8)
    assert [three_digits(value) for value in (0.01234, 0, 99.96, 1234.5)] == [0.0123, 0, 100, 1234]


def test_every_song_that_has_a_row_counts_as_a_row_whoever_wrote_it() -> None:
    found = Report(songs_in_range=9, songs_written=3, songs_skipped_existing=2, songs_found_written=1)
    assert found.rows == 5  # the one that was found is among the two that had a row


def test_a_filled_range_says_how_many_rows_it_has_and_what_happened_in_one_event() -> None:
    report = Report(songs_in_range=9, songs_written=3, songs_skipped_existing=6)
    columns = dg.TableSchema([dg.TableColumn("song_id", "uuid")])
    key = dg.AssetKey("song_aboutness")
    filled = range_materialization(key, "000000001-000000009", report, load_settings(), columns)
    assert filled.partition == "000000001-000000009"
    assert filled.description == f"{filled.partition}: {report.summary()}"
    assert filled.metadata["dagster/partition_row_count"].value == 9
    assert filled.metadata["dagster/column_schema"].value == columns
    assert "dagster/row_count" not in filled.metadata


def test_the_line_of_a_finished_range_names_only_what_happened() -> None:
    quiet = Report(songs_in_range=20, songs_written=20, seconds=1.23, cost_usd=0.0008)
    assert quiet.summary() == "20 of 20 songs got a row in 1.2 s, $0.0008"
    busy = Report(
        songs_in_range=20,
        songs_written=16,
        songs_skipped_existing=3,
        songs_found_written=1,
        answers_replayed=1,
        uncertain_requests=1,
        uncertain_usd=0.0002,
        failed=[FailedSong(1, "refused", "no")],
        cost_usd=None,
    )
    assert busy.summary() == (
        "16 of 20 songs got a row in 0.0 s, 3 had one, 1 failed, 1 answers kept from before, cost unknown, "
        "up to $0.0002 more may be billed"
    )


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

"""What an observation of backfill_progress shows: small, rounded, and no markup of strangers."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from aboutness_assets.database.operations.run_progress import BackfillState
from aboutness_assets.orchestration.progress import bars, links, observation_metadata
from aboutness_assets.orchestration.progress_picture import INLINE_CHARACTERS, Bar, picture
from aboutness_assets.pipeline.backfill_progress import songs_left
from aboutness_assets.pipeline.progress import RunFigures
from aboutness_assets.pipeline.run_budget import RunBudget

HUGE = 9_999_999_999
RUN = RunFigures(60, 1, 60_000, 10, 0, 0, 100, 1.5, True, None, 0.1, 0.0, False)
NOW = datetime(2026, 11, 30, 12, 0, 5, tzinfo=UTC)
STATE = BackfillState(
    seconds=100.0,
    observations=3,
    counting_run="run 1",
    counted_at=NOW,
    count_seconds=0.1,
    ranges=3,
    songs=3_000,
    songs_with_row=1_000,
    catalogue_songs=10_000,
    catalogue_with_row=2_000,
    written=700,
    written_since=500,
    all_written_since=600,
    failed=7,
    catalogue_failed=9,
    usd=0.123456789,
    uncertain_usd=0.0,
    budget_usd=1.5,
    budget_uncertain_usd=0.0,
    ranges_done=1,
    runs=3,
    running=["run 1", "run 2"],
    silent_runs=0,
    silent_since=None,
    songs_per_second=12.3456,
    is_settled=True,
    limited_by=["60 requests per minute"],
)


def svg_of(markdown: str) -> ElementTree.Element:
    data = markdown.removeprefix("![](data:image/svg+xml;base64,").removesuffix(")")
    return ElementTree.fromstring(base64.b64decode(data).decode())


def shown(state: BackfillState, **arguments: Any) -> dict[str, Any]:
    given = {"budget": RunBudget("spring", 5.0), "run_id": "run 1", "of_dagster": "abc", "outcome": None}
    metadata = observation_metadata(RUN, state, **{**given, **arguments})
    return {name: getattr(value, "value", value) for name, value in metadata.items()}


def test_the_largest_numbers_fit_into_a_picture_that_is_shown_inline() -> None:
    markdown = picture([Bar("This backfill", HUGE, HUGE, HUGE), Bar("Catalogue", HUGE, HUGE, HUGE)])
    assert len(markdown) < INLINE_CHARACTERS
    assert [text.text for text in svg_of(markdown) if text.tag.endswith("text")] == [
        "This backfill 33 %: 9,999,999,999 done, 9,999,999,999 failed, 9,999,999,999 left",
        "Catalogue 33 %: 9,999,999,999 done, 9,999,999,999 failed, 9,999,999,999 left",
    ]


def test_one_failed_song_shows_and_only_all_songs_are_a_hundred_percent() -> None:
    [text, *paths] = svg_of(picture([Bar("Catalogue", 999_998, 1, 1)]))
    assert text.text == "Catalogue 99 %: 999,998 done, 1 failed, 1 left"
    assert [path.attrib["d"].split("h")[1].split("v")[0] for path in paths] == ["416", "2", "2"]
    [text, *paths] = svg_of(picture([Bar("Catalogue", 5, 0, 0)]))
    assert (text.text, len(paths)) == ("Catalogue 100 %: 5 done, 0 failed, 0 left", 1)
    svg_of(picture([Bar("Catalogue", 0, 0, 0)]))


def test_what_is_not_counted_is_not_claimed() -> None:
    uncounted = replace(
        STATE,
        songs=None,
        songs_with_row=None,
        catalogue_songs=None,
        catalogue_with_row=None,
        counted_at=None,
    )
    assert songs_left(uncounted) is None
    assert bars(uncounted) == [Bar("This backfill", 700, 7, None)]
    metadata = shown(uncounted)
    assert metadata["time_left"] == "? (the songs are being counted)"
    assert not {"songs_left", "counted"} & metadata.keys()


def test_the_numbers_are_sums_over_what_was_counted_and_written_since() -> None:
    assert bars(STATE) == [
        Bar("This backfill", 1_500, 7, 3_000 - 1_500 - 7),
        Bar("Catalogue", 2_600, 9, 10_000 - 2_600 - 9),
    ]
    metadata = shown(STATE)
    numbers = {name: value for name, value in metadata.items() if isinstance(value, int | float)}
    assert numbers == {
        "songs_per_second": 12.35,
        "songs_written": 700,
        "songs_failed": 7,
        "songs_left": 1_493,
        "usd_spent": 0.123457,
    }
    assert metadata["time_left"] == "2:01 at this pace"
    assert metadata["limited_by"] == "60 requests per minute"
    assert metadata["spent"] == "$0.1235; budget spring: $1.5000 of $5.0000"
    assert metadata["runs"] == "2 at work, 1 ended"


def test_a_killed_run_is_not_at_work() -> None:
    killed = replace(STATE, running=[], silent_runs=1, silent_since=NOW, limited_by=[], songs_per_second=0.0)
    metadata = shown(killed, outcome="failed")
    assert metadata["runs"] == (
        "0 at work, 2 ended, 1 not heard of since 12:00:05 UTC, the latest, run 1, failed"
    )
    assert (metadata["time_left"], metadata["limited_by"]) == ("?", "no run fills now")


@pytest.mark.parametrize("hostile", ["](javascript:alert(1))", "a b\n# c", "<img src=x>", "../../x?y=[z]"])
def test_names_of_strangers_make_no_markup(hostile: str) -> None:
    html = MarkdownIt().render(links([hostile], hostile))
    assert html.count("<a href=") == 3
    assert "<img" not in html
    assert "javascript:" not in html.replace("javascript%3A", "").split(">")[0]
    assert html.count("\n") == 1

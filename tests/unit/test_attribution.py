"""Whose texts are these: entries about another song are seen, honest ones are not doubted."""

import csv
import gzip
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.packs import Pack, packs_of
from tests.support.model_answers import (
    EMOTIONS,
    ENTRIES,
    HOME,
    IMAGINE,
    MOMENTS,
    PACK,
    WRITTEN,
    causes,
    entry,
    read,
)

SHARED_DATA = Path(__file__).parents[2].parent / "shared" / "data"


def echoing(**titles: Any) -> dict[str, Any]:
    return {
        key: {"title": titles.get(f"_{key}", song.title), **ENTRIES[key]}
        for key, song in PACK.keyed().items()
    }


def test_swapped_entries_are_seen_by_their_titles() -> None:
    answer = read(echoing(_1="Thriller", _2="Imagine"))
    assert causes(answer) == {11: "another_song", 12: "another_song"}
    assert answer.written == {13: WRITTEN[13]}


def test_swapped_entries_are_seen_by_their_artists_when_titles_are_alike() -> None:
    pack = Pack((Song(1, "Hallelujah", "Boyce Avenue"), Song(2, "Hallelujah", "Brett Young")))
    swapped = {
        "1": entry(0, title="Hallelujah", artist="Brett Young"),
        "2": entry(1, title="Hallelujah", artist="Boyce Avenue"),
    }
    assert causes(read(swapped, pack)) == {1: "another_song", 2: "another_song"}
    assert causes(read({"1": swapped["2"], "2": swapped["1"]}, pack)) == {}


@pytest.mark.parametrize(
    "echo",
    [
        HOME.title,
        "Home",
        "home (feat nobody) 2011 remaster",
        "Home (feat. Nobdy) - 2011 Remaster",
        '"Home (feat. Nobody) - 2011 Remaster"',
        "Gabrielle Aplin - Home (feat. Nobody) - 2011 Remaster",
        "",
        None,
        [],
        ...,
    ],
)
def test_a_title_that_is_echoed_loosely_or_not_at_all_is_tolerated(echo: Any) -> None:
    assert read({**ENTRIES, "3": entry(2, title=echo)}).written == WRITTEN


@pytest.mark.parametrize(
    ("title", "echo"),
    [
        ("פרצופים", "Partzufim"),
        ("透明だった世界", "Toumei Datta Sekai"),
        ("7", "Seven"),
        ("→", "Arrow"),
        ("1999", 1999),
        ("Tú", "Tu"),
        ("", "Untitled"),
    ],
)
def test_an_echo_that_cannot_be_judged_is_no_reason_to_reject(title: str, echo: Any) -> None:
    pack = Pack((Song(1, title, "a"), IMAGINE))
    assert causes(read({"1": entry(0, title=echo), "2": entry(1, title="Imagine")}, pack)) == {}


def test_an_echo_without_end_does_not_hold_up_the_others() -> None:
    """Compared whole, this one would take hours."""
    pack = Pack(tuple(Song(number, "ab" * 100, "cd" * 60) for number in range(2)))
    echoed = {str(key): {**entry(key), "title": "abx" * 1_000_000} for key in (1, 2)}
    assert len(read(echoed, pack).written) == 2


def test_an_echo_that_is_as_near_to_its_own_song_as_to_another_is_tolerated() -> None:
    pack = Pack((HOME, Song(1, "Homes", "a")))
    assert causes(read({"1": entry(0, title="Home"), "2": entry(1, title="Homes")}, pack)) == {}


@pytest.mark.parametrize(
    ("title", "other", "echo"),
    [
        ("פרצופים", "Imagine", "Imagine"),
        ("→", "~", "~"),
        ("Love Me", "Love Me Do", "love me do"),
        ("7", "24/7", "24/7"),
        ("Imagine", "Thriller", "Bohemian Rhapsody"),
    ],
)
def test_an_echo_of_another_song_is_seen(title: str, other: str, echo: str) -> None:
    pack = Pack((Song(1, title, "a"), Song(2, other, "b")))
    assert causes(read({"1": entry(0, title=echo), "2": entry(1, title=other)}, pack)) == {1: "another_song"}


@pytest.mark.parametrize(
    "bled",
    [
        (EMOTIONS[1], MOMENTS[1]),
        (EMOTIONS[1].upper(), f'"{MOMENTS[1]}"'),
        ("a dread that is gleeful", "at Halloween, dances and dancing"),
    ],
)
def test_two_songs_with_the_same_texts_are_both_rejected(bled: tuple[str, str]) -> None:
    answer = read(ENTRIES | {"3": entry(2, emotions_text=bled[0], moments_text=bled[1])})
    assert causes(answer) == {12: "another_song", 13: "another_song"}
    assert answer.written == {11: WRITTEN[11]}


@pytest.mark.parametrize(
    "changes",
    [
        {"emotions_text": EMOTIONS[1]},
        {"moments_text": MOMENTS[1]},
        {"emotions_text": EMOTIONS[1], "moments_text": f"{MOMENTS[1]} in 1984"},
    ],
)
def test_one_word_more_is_enough_to_tell_two_songs_apart(changes: dict[str, str]) -> None:
    assert causes(read(ENTRIES | {"3": entry(2, **changes)})) == {}


def test_two_versions_of_one_song_may_have_the_same_texts() -> None:
    pack = Pack((Song(1, "PS5", "salem ilese"), Song(2, "PS5 - Xbox X Version", "salem ilese")))
    assert causes(read({"1": entry(0), "2": entry(0)}, pack)) == {}


def test_texts_of_a_kind_are_not_taken_for_the_same() -> None:
    feelings = product(
        ("quiet", "aching", "stubborn", "giddy"), ("longing", "pride", "relief", "hope", "grief")
    )
    turns = ("that softens", "that hardens", "without a name", "for someone gone")
    texts = [f"{shade} {feeling} {turn}" for shade, feeling in feelings for turn in turns]
    pack = Pack(tuple(Song(number, f"Title {number}", "a") for number in range(len(texts))))
    same_moment = {"moments_text": "driving home alone through the rain"}
    entries = {
        key: entry(0, emotions_text=text, **same_moment)
        for key, text in zip(pack.keyed(), texts, strict=True)
    }
    assert len(texts) == 80
    assert causes(read(entries, pack)) == {}


def test_every_planted_swap_is_seen_among_real_titles_and_no_honest_echo_is_doubted() -> None:
    catalogue = SHARED_DATA / "catalogue_full.csv.gz"
    if not catalogue.exists():
        pytest.skip("the shared catalogue of real titles (../shared/data) is not here")
    with gzip.open(catalogue, "rt", encoding="utf-8") as lines:
        rows = [row for row, _ in zip(csv.DictReader(lines), range(1_000), strict=False)]
    songs = [Song(int(row["song_id"]), row["title"], row["artist"]) for row in rows]
    for pack in packs_of(songs, 5):
        titles = [song.title for song in pack.songs]
        honest = {key: entry(at, title=titles[at]) for at, key in enumerate(pack.keyed())}
        assert causes(read(honest, pack)) == {}
        swapped = {key: entry(at, title=titles[at - 1]) for at, key in enumerate(pack.keyed())}
        assert set(causes(read(swapped, pack)).values()) == {"another_song"}
        assert read(swapped, pack).written == {}


def test_a_model_that_tells_no_songs_apart_is_taken_at_its_word() -> None:
    same = {key: {**ENTRIES["1"], "title": song.title} for key, song in PACK.keyed().items()}
    assert len(PACK.songs) > 2
    assert causes(read(same)) == {}

"""Which songs share a request: each exactly once, with songs of one artist or title kept apart."""

import csv
import gzip
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.packs import Pack, packs_of

FULL_CATALOGUE = Path(__file__).parents[2].parent / "shared" / "data" / "catalogue_full.csv.gz"


def songs_of(*artists: str) -> list[Song]:
    return [Song(number, f"title {number}", artist) for number, artist in enumerate(artists, start=1)]


def artists_of(song: Song) -> set[str]:
    return {artist.strip().casefold() for artist in song.artist.split(";")} - {""}


def neighbors_of_one_artist(songs: Sequence[Song]) -> int:
    return sum(bool(artists_of(left) & artists_of(right)) for left, right in pairwise(songs))


def repeated_titles(songs: Sequence[Song]) -> int:
    return len(songs) - len({song.title.strip().casefold() for song in songs})


@given(
    st.lists(st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("aBbcde")), max_size=60), st.integers(1, 12)
)
def test_every_song_is_in_exactly_one_pack_and_all_packs_but_the_last_are_full(
    rows: list[tuple[str, str]], size: int
) -> None:
    songs = [Song(number, title, artist) for number, (title, artist) in enumerate(rows)]
    packs = packs_of(songs, size)
    dealt = [song for pack in packs for song in pack.songs]
    assert len(packs) == math.ceil(len(songs) / size)
    assert all(len(pack.songs) == size for pack in packs[:-1])
    assert sorted(dealt, key=songs.index) == songs
    assert packs == packs_of(songs, size)


@given(st.lists(st.sampled_from("aaAbcdefghij"), min_size=1, max_size=60), st.integers(1, 12))
def test_an_artist_with_fewer_songs_than_there_are_full_packs_is_in_no_pack_twice(
    artists: list[str], size: int
) -> None:
    packs = packs_of(songs_of(*artists), size)
    songs_per_artist = Counter(artist.casefold() for artist in artists)
    for pack in packs:
        for artist, count in Counter(song.artist.casefold() for song in pack.songs).items():
            assert count == 1 or songs_per_artist[artist] >= len(packs)


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=20))
def test_an_artist_with_less_than_half_of_a_pack_has_no_two_neighbors(artists: list[str]) -> None:
    (pack,) = packs_of(songs_of(*artists), len(artists))
    most = max(Counter(artists).values())
    assert 2 * most >= len(artists) or neighbors_of_one_artist(pack.songs) == 0


def test_an_artist_who_fills_the_end_of_a_page_is_spread_over_its_packs() -> None:
    songs = songs_of(*[f"artist {number}" for number in range(90)], *["z"] * 10)
    for pack in packs_of(songs, 10):
        assert sum(song.artist == "z" for song in pack.songs) == 1


def test_a_song_that_the_catalogue_lists_three_times_goes_to_three_packs() -> None:
    songs = [*songs_of(*"abcdefghi"), *(Song(number, "Home", "Alice") for number in range(10, 13))]
    for pack in packs_of(songs, 4):
        assert sum(song.title == "Home" for song in pack.songs) == 1


def test_in_a_real_catalogue_few_neighbors_share_an_artist_and_few_packs_repeat_a_title() -> None:
    """The numbers that the docstring of packs_of names."""
    if not FULL_CATALOGUE.exists():
        pytest.skip("the shared catalogue of real titles (../shared/data) is not here")
    with gzip.open(FULL_CATALOGUE, "rt", encoding="utf-8") as lines:
        songs = [Song(int(row["song_id"]), row["title"], row["artist"]) for row in csv.DictReader(lines)]
    packs = [pack.songs for at in range(0, len(songs), 1000) for pack in packs_of(songs[at : at + 1000], 10)]
    assert len(packs) == 11_400
    assert sum(map(neighbors_of_one_artist, packs)) / (9 * len(packs)) < 0.0015
    assert sum(map(repeated_titles, packs)) < 20


def test_songs_that_cannot_be_kept_apart_still_all_have_a_pack() -> None:
    songs = [Song(number, "Home", "Alice") for number in range(25)]
    assert [len(pack.songs) for pack in packs_of(songs, 10)] == [10, 10, 5]


def test_keys_are_local_to_the_pack() -> None:
    songs = [Song("cuid-b", "B", "b"), Song("cuid-a", "A", "a")]
    assert Pack(tuple(songs)).keyed() == {"1": songs[0], "2": songs[1]}


def test_no_songs_make_no_packs() -> None:
    assert packs_of([], 10) == []


def test_a_pack_of_no_songs_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        packs_of(songs_of("a"), 0)

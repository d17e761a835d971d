"""Which songs share a request: all of them once, and those that are alike kept apart."""

import math
from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.packs import Pack, packs_of


def songs_of(*artists: str) -> list[Song]:
    return [Song(number, f"title {number}", artist) for number, artist in enumerate(artists, start=1)]


def titled(*titles: str) -> list[Song]:
    return [Song(number, title, f"artist {number}") for number, title in enumerate(titles, start=1)]


def artists_of(song: Song) -> set[str]:
    return {artist.strip().casefold() for artist in song.artist.split(";")} - {""}


def clashes(songs: Sequence[Song]) -> int:
    return sum(bool(artists_of(left) & artists_of(right)) for left, right in pairwise(songs))


CATALOGUE = st.lists(
    st.tuples(st.sampled_from("uvwxyz"), st.lists(st.sampled_from("abcde"), max_size=3)), max_size=60
)


@given(CATALOGUE, st.integers(1, 12))
def test_every_song_stands_in_exactly_one_of_the_fewest_packs(
    rows: list[tuple[str, list[str]]], size: int
) -> None:
    songs = [Song(number, title, ";".join(artists)) for number, (title, artists) in enumerate(rows)]
    packs = packs_of(songs, size)
    dealt = [song for pack in packs for song in pack.songs]
    assert len(packs) == math.ceil(len(songs) / size)
    assert all(len(pack.songs) == size for pack in packs[:-1])
    assert sorted(dealt, key=songs.index) == songs
    assert packs == packs_of(songs, size)


@given(st.lists(st.sampled_from("aabcd"), min_size=1, max_size=7))
def test_songs_of_one_artist_are_kept_apart_as_well_as_any_order_could(artists: list[str]) -> None:
    songs = songs_of(*artists)
    (pack,) = packs_of(songs, len(songs))
    assert clashes(pack.songs) == min(clashes(order) for order in permutations(songs))


def test_songs_that_are_not_alike_keep_their_order() -> None:
    songs = songs_of(*"abcdefghij" * 3)
    assert [song for pack in packs_of(songs, 10) for song in pack.songs] == songs


def test_a_song_that_must_move_moves_no_further_than_it_must() -> None:
    songs = songs_of("a", "a", "b", "c")
    assert [song.song_id for song in packs_of(songs, 4)[0].songs] == [1, 3, 2, 4]


@pytest.mark.parametrize("one", ["Alice", "ALICE", " alice ", "Bob;Alice", "Carol; alice;Dan"])
def test_an_artist_is_known_in_any_case_and_in_any_company(one: str) -> None:
    songs = songs_of("Alice", one, "Zoe")
    assert [song.song_id for song in packs_of(songs, 3)[0].songs] == [1, 3, 2]


def test_songs_without_an_artist_are_not_taken_for_one_artist() -> None:
    songs = songs_of("", " ", ";", "Alice", "")
    assert list(packs_of(songs, 5)[0].songs) == songs


def test_an_artist_who_fills_the_end_of_a_page_is_spread_over_its_packs() -> None:
    songs = songs_of(*[f"artist {number}" for number in range(90)], *["z"] * 10)
    assert sum(clashes(pack.songs) for pack in packs_of(songs, 10)) == 0
    half = songs_of(*[f"artist {number}" for number in range(50)], *["z"] * 50)
    assert sum(clashes(pack.songs) for pack in packs_of(half, 10)) == 0


def test_two_songs_of_one_title_do_not_share_a_pack() -> None:
    songs = titled("Home", "HOME!", *(f"other {number}" for number in range(7)), "Ｈｏｍｅ")
    packs = packs_of(songs, 4)
    for pack in packs:
        assert sum("other" not in song.title for song in pack.songs) <= 1


def test_a_song_that_changes_packs_keeps_its_place_in_the_order() -> None:
    packs = packs_of(titled("a", "b", "Home", "Home"), 2)
    assert [[song.song_id for song in pack.songs] for pack in packs] == [[1, 4], [2, 3]]


def test_two_titles_of_signs_alone_are_one_only_when_they_are_the_same() -> None:
    assert [len(pack.songs) for pack in packs_of(titled("→", "~"), 2)] == [2]
    packs = packs_of(titled("→", "→", "a", "b"), 2)
    assert [[song.title for song in pack.songs] for pack in packs] == [["→", "a"], ["→", "b"]]


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

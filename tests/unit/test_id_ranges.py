"""Keys and ranges: every id in exactly one, keys that survive Dagster, laying that only ever adds."""

import re
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.errors import InvalidPartitionKey
from aboutness_assets.domain.id_ranges import (
    LARGEST_ID,
    SMALLEST_ID,
    USUAL_MOST_RANGES,
    SongIdRange,
    check_string_ranges,
    covered_intervals,
    integer_ranges,
    range_size_for,
    string_ranges,
    uncovered_intervals,
    width_in_force,
)
from aboutness_assets.domain.songs import IdType

any_integer_id = st.integers(SMALLEST_ID, LARGEST_ID)
near_ids = st.one_of(
    st.integers(-3000, 30_000),
    st.integers(LARGEST_ID - 3000, LARGEST_ID),
    st.integers(SMALLEST_ID, SMALLEST_ID + 3000),
)
integer_ids = st.lists(st.one_of(near_ids, any_integer_id), max_size=40)
widths = st.one_of(st.integers(1, 5000), st.integers(1, 2**64))
# What a text column of Postgres can hold: any Unicode but NUL and lone surrogates.
text_ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=70)
uuid_ids = st.uuids().map(str)


def keys_after_creating(existing: list[str], song_ids: list[int], range_size: int) -> list[str]:
    covered = covered_intervals(existing)
    width = width_in_force(covered, range_size)
    return [found.key for found in integer_ranges(uncovered_intervals(covered), song_ids, width)]


def holders(keys: list[str], song_id: int) -> int:
    return sum(lower <= song_id <= upper for lower, upper in covered_intervals(keys))


@pytest.mark.parametrize(
    ("lower", "upper", "key"),
    [
        (1, 1000, "000000001-000001000"),
        (-999, 0, "-000000999-000000000"),
        (-1999, -1000, "-000001999--000001000"),
        (1_000_000_000_001, 1_000_000_001_000, "1000000000001-1000000001000"),
        (SMALLEST_ID, LARGEST_ID, "-9223372036854775808-9223372036854775807"),
    ],
)
def test_an_integer_key_shows_both_ends(lower: int, upper: int, key: str) -> None:
    assert SongIdRange("integer", lower, upper).key == key
    assert SongIdRange.from_key(key, "integer") == SongIdRange("integer", lower, upper)


@pytest.mark.parametrize(
    ("lower", "upper", "key"),
    [
        (None, None, ":"),
        (None, "cku1", ":cku1"),
        ("cku1", "cku9", "cku1:cku9"),
        ("cku9", None, "cku9:"),
        ("a,b...c", "é/%\n\"'", "a@2Cb@2E@2E@2Ec:@C3@A9@2F@25@0A@22@27"),
    ],
)
def test_a_text_key_shows_its_bounds_with_everything_unsafe_escaped(
    lower: str | None, upper: str | None, key: str
) -> None:
    assert SongIdRange("text", lower, upper).key == key
    assert SongIdRange.from_key(key, "text") == SongIdRange("text", lower, upper)


@given(st.tuples(any_integer_id, any_integer_id).map(sorted))
def test_integer_keys_round_trip(bounds: list[int]) -> None:
    found = SongIdRange("integer", bounds[0], bounds[1])
    assert SongIdRange.from_key(found.key, "integer") == found


@given(st.lists(text_ids, unique=True, max_size=8))
def test_text_keys_round_trip_and_are_safe_whatever_ids_hold(ids: list[str]) -> None:
    for found in string_ranges(ids, "text"):
        assert SongIdRange.from_key(found.key, "text") == found
        assert re.fullmatch(r"[-a-zA-Z0-9_@]*:[-a-zA-Z0-9_@]*", found.key)


@given(st.lists(uuid_ids, unique=True, max_size=8))
def test_uuid_keys_round_trip(ids: list[str]) -> None:
    for found in string_ranges(ids, "uuid"):
        assert SongIdRange.from_key(found.key, "uuid") == found


@pytest.mark.parametrize(
    ("key", "id_type"),
    [
        ("", "integer"),
        ("1-1000", "integer"),
        ("0000000001-0000001000", "integer"),
        ("000001000-000000001", "integer"),
        ("-000000000-000001000", "integer"),
        ("000000001-9223372036854775808", "integer"),
        ("٠٠٠٠٠٠٠٠١-٠٠٠٠٠١٠٠٠", "integer"),
        ("000000001-000001000\n", "integer"),
        ("a:b", "integer"),
        ("000000001-000001000", "text"),
        ("a:b:c", "text"),
        ("a:a", "text"),
        ("@41:b", "text"),
        ("@2c:b", "text"),
        ("@FF:b", "text"),
        ("@ED@A0@80:b", "text"),
        ("a:@00", "text"),
        ("a b:c", "text"),
        ("a@2:b", "text"),
        ("not-a-uuid:", "uuid"),
        ("6F9619FF-8B86-D011-B42D-00C04FC964FF:", "uuid"),
    ],
)
def test_what_no_range_was_written_as_is_refused_with_what_to_do(key: str, id_type: IdType) -> None:
    with pytest.raises(InvalidPartitionKey, match="sync_song_id_ranges"):
        SongIdRange.from_key(key, id_type)


@given(st.text(), st.sampled_from(["integer", "text", "uuid"]))
def test_any_string_is_a_canonical_key_or_refused(key: str, id_type: IdType) -> None:
    try:
        found = SongIdRange.from_key(key, id_type)
    except InvalidPartitionKey:
        return
    assert found.key == key


@given(st.lists(integer_ids, min_size=1, max_size=4), st.lists(widths, min_size=4, max_size=4))
def test_every_song_lies_in_exactly_one_range_also_songs_that_come_later(
    arrivals: list[list[int]], range_sizes: list[int]
) -> None:
    keys: list[str] = []
    seen: list[int] = []
    for song_ids, range_size in zip(arrivals, range_sizes, strict=False):
        seen += song_ids
        new = keys_after_creating(keys, seen, range_size)
        assert not set(new) & set(keys)
        bounds = [
            (found.lower, found.upper) for found in (SongIdRange.from_key(key, "integer") for key in new)
        ]
        assert bounds == covered_intervals(new), "new keys come in the order of ids"
        keys += new
        assert all(holders(keys, song_id) == 1 for song_id in seen)
        assert keys_after_creating(keys, seen, range_size) == []


@given(integer_ids, any_integer_id, widths)
def test_an_id_that_no_range_holds_yet_gets_one_when_it_comes(
    song_ids: list[int], later: int, range_size: int
) -> None:
    keys = keys_after_creating([], song_ids, range_size)
    assert holders(keys, later) <= 1
    keys += keys_after_creating(keys, [later], range_size)
    assert holders(keys, later) == 1


@given(integer_ids, st.lists(st.tuples(near_ids, near_ids).map(sorted), max_size=5), widths)
def test_new_ranges_never_overlap_hand_made_ones(
    song_ids: list[int], hand_made: list[list[int]], range_size: int
) -> None:
    keys: list[str] = []
    for lower, upper in hand_made:
        if all(upper < start or end < lower for start, end in covered_intervals(keys)):
            keys.append(SongIdRange("integer", lower, upper).key)
    keys += keys_after_creating(keys, song_ids, range_size)
    covered_intervals(keys)  # raises where two overlap
    assert all(holders(keys, song_id) == 1 for song_id in song_ids)


def test_cells_are_arithmetic_and_only_occupied_ones_are_laid() -> None:
    assert keys_after_creating([], [1, 1000, 1001, 1_000_000, 0, -1000], 1000) == [
        "-000001999--000001000",
        "-000000999-000000000",
        "000000001-000001000",
        "000001001-000002000",
        "000999001-001000000",
    ]


def test_the_width_in_force_is_that_of_the_ranges_laid_first() -> None:
    keys = keys_after_creating([], [1, 1500], 1000)
    assert keys_after_creating(keys, [2500], 10) == ["000002001-000003000"]


@pytest.mark.parametrize(
    ("songs", "size"),
    [
        (0, 1000),
        (114_000, 1000),
        (10_000_000, 1000),
        (10_000_001, 2000),
        (20_000_001, 5000),
        (100_000_000, 10_000),
    ],
)
def test_a_large_catalogue_gets_larger_ranges(songs: int, size: int) -> None:
    assert range_size_for(songs) == size
    assert songs / size <= USUAL_MOST_RANGES


def test_a_cell_is_clipped_at_a_hand_made_range() -> None:
    keys = ["000000001-000001000", "000001001-000002000", "000002400-000002600"]
    assert keys_after_creating(keys, [2001, 2500, 2999], 1000) == [
        "000002001-000002399",
        "000002601-000003000",
    ]


def test_overlapping_keys_are_named_in_the_error() -> None:
    with pytest.raises(InvalidPartitionKey, match="000000001-000001000 and 000001000-000002000 overlap"):
        covered_intervals(["000001000-000002000", "000000001-000001000"])


@given(st.lists(any_integer_id, unique=True, max_size=12))
def test_covered_and_uncovered_intervals_are_all_ids_once(ends: list[int]) -> None:
    ends = sorted(ends)
    covered = [(lower, upper) for lower, upper in zip(ends[::2], ends[1::2], strict=False)]
    everything = sorted(covered + uncovered_intervals(covered))
    assert everything[0][0] == SMALLEST_ID
    assert everything[-1][1] == LARGEST_ID
    assert all(after == before + 1 for (_, before), (after, _) in pairwise(everything))


@given(st.lists(text_ids, unique=True, max_size=8).map(sorted), text_ids)
def test_every_text_id_lies_in_exactly_one_range(boundaries: list[str], song_id: str) -> None:
    # Code points stand in for the database's order here; a real collation is tested on a real Postgres.
    ranges = string_ranges(boundaries, "text")
    held_by = [
        found
        for found in ranges
        if (found.lower is None or str(found.lower) <= song_id)
        and (found.upper is None or song_id < str(found.upper))
    ]
    assert held_by == [ranges[bisect_right(boundaries, song_id)]]


@given(st.data(), st.lists(text_ids, unique=True, max_size=8))
def test_ranges_of_text_that_join_up_are_accepted_in_any_order(
    data: st.DataObject, boundaries: list[str]
) -> None:
    keys = [found.key for found in string_ranges(boundaries, "text")]
    check_string_ranges(data.draw(st.permutations(keys)), "text")


@pytest.mark.parametrize(
    "keys", [[":b"], ["b:"], [":b", "c:"], [":b", "b:", "b:c"], [":", ":b", "b:"], ["a:b", "b:a"]]
)
def test_ranges_of_text_that_do_not_join_up_are_refused(keys: list[str]) -> None:
    with pytest.raises(InvalidPartitionKey, match="join up"):
        check_string_ranges(keys, "text")

"""The rows chosen to be telling: those that stand out, then one per region, the same ones each time."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.acceptance.telling_sample import TextRow, choose, spread

ROW = TextRow("1", "Title", "Artist", "joy " * 5, "high", "dawn " * 4, "high")

rows = st.lists(
    st.builds(
        TextRow,
        st.integers(0, 40).map(str),
        st.text(max_size=5),
        st.text(max_size=5),
        st.sampled_from(["joy", "joy and grief", "x" * 100]),
        st.sampled_from(["low", "MEDIUM", "high", ""]),
        st.text(max_size=12),
        st.sampled_from(["low", "medium", "high"]),
        st.integers(0, 5),
    ),
    unique_by=lambda row: row.song_id,
    max_size=30,
)


def test_rows_that_stand_out_come_first() -> None:
    plain = [
        replace(ROW, song_id=str(n), emotions_text=f"{n} of joy" * 3, moments_text=f"{n} of dawn" * 2)
        for n in range(100, 140)
    ]
    shortest = replace(plain[0], song_id="shortest", emotions_text="oh")
    longest = replace(plain[1], song_id="longest", moments_text="x" * 99)
    unsure = replace(plain[2], song_id="unsure", emotions_confidence="LOW", moments_confidence="low")
    shared = replace(plain[3], song_id="shared", shared_by=77)
    chosen = choose([*plain, unsure, shared, longest, shortest], 8)
    assert [each.row.song_id for each in chosen[:4]] == ["shortest", "longest", "unsure", "shared"]
    assert "77" in chosen[3].why
    assert chosen[4].why == "typical lengths and confidence"
    assert {each.why for each in chosen[5:]} == {"random"}


def test_every_region_has_a_row_where_there_is_room() -> None:
    many = [replace(ROW, song_id=str(n), region=n // 10) for n in range(80)]
    assert {each.row.region for each in choose(many, 13)} == set(range(8))


@given(rows, st.integers(0, 12), st.randoms())
def test_the_same_rows_are_chosen_in_whatever_order_they_come(
    given_rows: list[TextRow], n: int, order: random.Random
) -> None:
    chosen = choose(given_rows, n)
    assert len({each.row.song_id for each in chosen}) == len(chosen) == min(n, len(given_rows))
    shuffled = list(given_rows)
    order.shuffle(shuffled)
    assert choose(shuffled, n) == chosen


@given(st.integers(0, 300))
def test_a_spread_order_is_a_permutation_whose_beginnings_reach_everywhere(number: int) -> None:
    order = spread(range(number))
    assert sorted(order) == list(range(number))
    if number >= 8:
        gaps = [b - a for a, b in zip(sorted(order[:4]), sorted(order[:4])[1:], strict=False)]
        assert min(gaps) >= number // 8

"""Which ranges are chosen for new songs, and where the next search goes on."""

from __future__ import annotations

from aboutness_assets.pipeline.new_songs import NewSongs, find_new_songs

KEYS = [f"range {number}" for number in range(10)]


async def find(new: dict[int, int], start_at: str = "", most: int = 3, **options: int) -> NewSongs:
    async def count(key: str) -> tuple[int, int]:
        return new.get(KEYS.index(key), 0), 1

    return await find_new_songs(KEYS, start_at, most, count, **options)


async def test_neighbors_from_the_last_range_on_are_taken_together() -> None:
    assert await find({4: 7, 7: 2, 8: 3}) == NewSongs(("range 7", "range 8"), 5, 4, 4, "")


async def test_no_more_ranges_are_taken_than_a_run_may_fill() -> None:
    found = await find(dict.fromkeys(range(10), 1))
    assert found.range_keys == ("range 7", "range 8", "range 9")
    assert found.looked_at == 3


async def test_a_search_is_bounded_and_the_next_one_goes_on() -> None:
    first = await find({1: 1}, looked_at_most=6)
    assert first == NewSongs((), 0, 6, 6, "range 3")
    assert (await find({1: 1}, first.look_next_at, looked_at_most=6)).range_keys == ("range 1",)


async def test_where_nothing_is_new_the_next_search_begins_at_the_end() -> None:
    assert await find({}) == NewSongs((), 0, 10, 10, "")
    assert (await find({9: 1}, start_at="a key that is gone")).range_keys == ("range 9",)
    assert await find_new_songs([], "", 3, lambda _: NotImplemented) == NewSongs((), 0, 0, 0, "")

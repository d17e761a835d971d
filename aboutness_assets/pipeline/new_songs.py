"""Which ranges a run should fill next, as they have songs without a row that no run has failed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.pipeline.session import Session

RANGES_LOOKED_AT = 200
"""Ranges that one search reads at most."""


@dataclass(frozen=True, slots=True)
class NewSongs:
    """What one search found.

    range_keys: neighbors in the order of all keys, none where nothing is new; songs: the new ones in them.
    songs_failed: songs without a row in the ranges looked at that are on record as failed. look_next_at: the
    key with which the next search goes on, '' for the last of all keys.
    """

    range_keys: tuple[str, ...]
    songs: int
    songs_failed: int
    looked_at: int
    look_next_at: str


async def find_new_songs(
    all_keys: Sequence[str],
    start_at: str,
    most: int,
    count: Callable[[str], Awaitable[tuple[int, int]]],
    *,
    looked_at_most: int = RANGES_LOOKED_AT,
) -> NewSongs:
    """Look for up to ``most`` neighboring ranges with new songs, from one key back to the first of all.

    Backwards, as new songs have the highest ids, mostly. start_at: '' or a key that is gone: the last.
    count: of a range, songs without a row that are new, and those that failed.
    """
    position = all_keys.index(start_at) if start_at in all_keys else len(all_keys) - 1
    found: list[str] = []
    songs = songs_failed = looked_at = 0
    while position >= 0 and looked_at < looked_at_most and len(found) < most:
        new, failed = await count(all_keys[position])
        looked_at += 1
        songs_failed += failed
        if new:
            found.insert(0, all_keys[position])
            songs += new
        elif found:
            break
        position -= 1
    look_next_at = "" if found or position < 0 else all_keys[position]
    return NewSongs(tuple(found), songs, songs_failed, looked_at, look_next_at)


async def count_new_songs(session: Session, range_key: str) -> tuple[int, int]:
    """Songs of a range without a row: those that are not on record as failed, and those that are."""
    song_id_range = SongIdRange.from_key(range_key, session.id_type)
    records = session.failed_songs(session.range_run(range_key))
    new = failed = 0
    async for page in session.songs.pages_without_row(song_id_range, session.tuning.page_size):
        on_record = len(await records.among(page))
        new, failed = new + len(page) - on_record, failed + on_record
    return new, failed

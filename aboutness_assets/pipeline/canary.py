"""Which ranges a canary fills: few, and spread over the catalogue, so that they speak for the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.pipeline.session import Session


@dataclass(frozen=True, slots=True)
class RangeLeft:
    """A range, and how many of its songs have no row."""

    key: str
    songs_left: int


async def count_songs_left(session: Session, range_keys: Sequence[str]) -> list[RangeLeft]:
    """Count the songs without a row of every range, in the order of ids; one short read per range.

    Raises InvalidPartitionKey.
    """
    ranges = [SongIdRange.from_key(key, session.id_type) for key in range_keys]
    if session.id_type == "integer":  # those that were added later may lie in between
        ranges.sort(key=lambda each: int(str(each.lower)))
    counts = [await session.songs.range_counts(each) for each in ranges]
    return [
        RangeLeft(each.key, songs - with_row) for each, (songs, with_row) in zip(ranges, counts, strict=True)
    ]


def choose_canary_ranges(ranges: Sequence[RangeLeft], number: int) -> list[RangeLeft]:
    """At most so many of the ranges, evenly spread, the middle of the catalogue where it is one.

    Only ranges in which at least half as many songs are left as in the fullest: one in which a few songs
    failed, or were never filled up, says little about the others.
    """
    most = max((each.songs_left for each in ranges), default=0)
    fit = [each for each in ranges if each.songs_left and 2 * each.songs_left >= most]
    number = min(number, len(fit))
    return [fit[(2 * part + 1) * len(fit) // (2 * number)] for part in range(number)]

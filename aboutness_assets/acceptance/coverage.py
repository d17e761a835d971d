"""How many songs of the catalogue have a row: counted as a whole, or summed over counts per range."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from aboutness_assets.database.operations.verification import WHOLE_TABLE_KEY
from aboutness_assets.database.service import catalogue
from aboutness_assets.domain.id_ranges import SongIdRange, covered_intervals, uncovered_intervals
from aboutness_assets.pipeline.session import Session

COUNTED_AT_ONCE = 50
"""Ranges counted in one statement, which takes about a hundredth of a second."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Songs of the catalogue, and those that have a row; counted_since: when the oldest part was counted."""

    songs: int
    with_row: int
    counted_since: datetime | None = None


async def count_whole_coverage(session: Session) -> Coverage:
    """Count the whole catalogue; reads all ids of both tables."""
    async with session.service_pool.connection() as connection:
        return Coverage(*await catalogue.coverage(connection, session.songs_query))


async def count_coverage_of_ranges(
    session: Session, partition_keys: Sequence[str], recount: Collection[str] | None
) -> Coverage:
    """The sum over all partitions, of which there is one at least, and what lies in none of them.

    recount: the ranges that are counted now (None: all); of the others those that never were.
    """
    verification = session.verification
    songs_query = hashlib.sha256(session.songs_query.encode()).hexdigest()
    every_key = {WHOLE_TABLE_KEY, *partition_keys}
    counts = await _count(session, partition_keys, every_key if recount is None else {*recount} & every_key)
    await verification.keep_coverage(counts, songs_query)
    kept = await verification.kept_coverage(partition_keys, songs_query)
    if kept.missing or kept.superfluous:  # partitions came or went: what lies in none of them is not the same
        counts = await _count(session, partition_keys, {WHOLE_TABLE_KEY, *kept.missing})
        await verification.keep_coverage(counts, songs_query, kept.superfluous)
        kept = await verification.kept_coverage(partition_keys, songs_query)
    return Coverage(kept.songs, kept.with_row, kept.oldest)


async def _count(
    session: Session, partition_keys: Sequence[str], keys: Collection[str]
) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    async with session.service_pool.connection() as connection:
        of_ranges = sorted({*keys} - {WHOLE_TABLE_KEY})
        for first in range(0, len(of_ranges), COUNTED_AT_ONCE):
            some = of_ranges[first : first + COUNTED_AT_ONCE]
            ranges = [SongIdRange.from_key(key, session.id_type) for key in some]
            found = await catalogue.counts_of_each(connection, session.songs_query, ranges)
            counts.update(zip(some, found, strict=True))
        if WHOLE_TABLE_KEY in keys and session.id_type == "integer":
            gaps = uncovered_intervals(covered_intervals(partition_keys))
            counts[WHOLE_TABLE_KEY] = await catalogue.counts_between(connection, session.songs_query, gaps)
        elif WHOLE_TABLE_KEY in keys:  # text and uuid ids all lie in a range
            counts[WHOLE_TABLE_KEY] = 0, 0
    return counts

"""How many songs of the catalogue have a row: counted as a whole, or summed over counts per range."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from aboutness_assets.database.operations.verification import WHOLE_TABLE_KEY, KeptCoverage
from aboutness_assets.database.service import catalogue
from aboutness_assets.domain.id_ranges import SongIdRange, covered_intervals, uncovered_intervals
from aboutness_assets.pipeline.session import Session


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
    """The sum over all partitions and what lies in none of them.

    recount: the ranges that are counted now (None: all); of the others those that never were.
    """
    verification = session.verification
    songs_query = hashlib.sha256(session.songs_query.encode()).hexdigest()
    kept = await verification.kept_coverage(partition_keys, songs_query)
    every_key = [WHOLE_TABLE_KEY, *partition_keys]
    to_count = set(every_key) if recount is None else {*kept.missing, *(set(recount) & set(partition_keys))}
    if kept.missing or kept.superfluous:  # partitions came or went: what lies in none of them is not the same
        to_count.add(WHOLE_TABLE_KEY)
    if not to_count:
        return _sum(kept)
    counts = {key: await _count(session, partition_keys, key) for key in sorted(to_count)}
    await verification.keep_coverage(counts, songs_query, kept.superfluous)
    return _sum(await verification.kept_coverage(partition_keys, songs_query))


async def _count(session: Session, partition_keys: Sequence[str], key: str) -> tuple[int, int]:
    async with session.service_pool.connection() as connection:
        if key != WHOLE_TABLE_KEY:
            song_id_range = SongIdRange.from_key(key, session.id_type)
            return await catalogue.range_counts(connection, session.songs_query, song_id_range)
        if session.id_type == "integer":
            gaps = uncovered_intervals(covered_intervals(partition_keys))
            return await catalogue.counts_between(connection, session.songs_query, gaps)
        # Text and uuid ids all lie in a range, unless there is none at all.
        return (0, 0) if partition_keys else await catalogue.coverage(connection, session.songs_query)


def _sum(kept: KeptCoverage) -> Coverage:
    return Coverage(kept.songs, kept.with_row, kept.oldest)

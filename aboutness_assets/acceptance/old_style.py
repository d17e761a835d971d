"""Whether the old-style rows still are what they were when this project first saw them."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline
from aboutness_assets.database.service.old_style_rows import OldStyleRows

COMPARED_AT_ONCE = 2_000
"""Rows compared at a time; a digest and an id are about 60 bytes."""


@dataclass(frozen=True, slots=True)
class OldStyleComparison:
    """How many old-style rows are on record, and the ids of those that changed or are gone.

    problem: a sentence that says why the rows cannot be compared, else empty.
    """

    recorded: int
    changed: list[str]
    gone: list[str]
    problem: str = ""

    @property
    def untouched(self) -> bool:
        """Whether every recorded row is byte for byte as it was."""
        return not (self.changed or self.gone or self.problem)


async def compare_with_baseline(
    rows: OldStyleRows, baseline: OldStyleBaseline, compared_at_once: int = COMPARED_AT_ONCE
) -> OldStyleComparison:
    """Compare the recorded old-style rows with the table, by primary key: the table's size does not matter.

    Records them first where this has not been done. Columns that were added since do not count.
    """
    columns_now = await rows.columns()
    await baseline.record(columns_now, rows.digests_before(columns_now, baseline.rollout_at))
    columns = await baseline.columns()
    recorded = await baseline.row_count()
    dropped = [name for name in columns if name not in columns_now]
    if dropped:
        return OldStyleComparison(recorded, [], [], f"These columns are gone: {', '.join(dropped)}.")
    changed: list[str] = []
    gone: list[str] = []
    async with aclosing(baseline.chunks(compared_at_once)) as chunks:
        async for chunk in chunks:
            now = await rows.digests_of(columns, chunk)
            gone += [song_id for song_id in chunk if song_id not in now]
            changed += [song_id for song_id, digest in chunk.items() if now.get(song_id, digest) != digest]
    return OldStyleComparison(recorded, changed, gone)

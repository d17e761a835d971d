"""Whether the old-style rows still are what they were when this project first saw them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import dataclass, field

from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline, Recorded
from aboutness_assets.database.service.old_style_rows import OldStyleRows

COMPARED_AT_ONCE = 2_000
"""Rows compared at a time; a digest and an id are about 60 bytes."""


@dataclass(frozen=True, slots=True)
class OldStyleComparison:
    """How many old-style rows are on record, and the ids of those that changed or are gone.

    compared: how many of them were compared. problem: a sentence that says why they cannot be, else empty.
    """

    recorded: int
    compared: int
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def untouched(self) -> bool:
        """Whether every compared row is byte for byte as it was."""
        return not (self.changed or self.gone or self.problem)


async def compare_with_baseline(
    rows: OldStyleRows,
    baseline: OldStyleBaseline,
    recorded: Recorded,
    among: Collection[str] | None = None,
    compared_at_once: int = COMPARED_AT_ONCE,
) -> OldStyleComparison:
    """Compare the recorded old-style rows with the table, by primary key: the table's size does not matter.

    recorded: what the baseline has on record. among: compare those of these songs (ids as text) alone.
    Columns that were added since do not count. Which rows were added, it does not tell.
    """
    columns_now = await rows.columns()
    dropped = [name for name in recorded.columns if name not in columns_now]
    if dropped:
        return OldStyleComparison(recorded.rows, 0, problem=f"These columns are gone: {', '.join(dropped)}.")
    comparison = OldStyleComparison(recorded.rows, recorded.rows if among is None else len(among))
    chunks = baseline.chunks(compared_at_once) if among is None else _one_chunk(baseline, among)
    async with aclosing(chunks):
        async for chunk in chunks:
            now = await rows.digests_of(recorded.columns, chunk)
            comparison.gone.extend(song_id for song_id in chunk if song_id not in now)
            comparison.changed.extend(
                song_id for song_id, digest in chunk.items() if now.get(song_id, digest) != digest
            )
    return comparison


async def _one_chunk(
    baseline: OldStyleBaseline, song_ids: Collection[str]
) -> AsyncGenerator[dict[str, bytes], None]:
    yield await baseline.among(song_ids)

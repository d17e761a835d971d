"""Looks at rows of song_aboutness: which of them violate what. Recorded old-style rows are passed over."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import aclosing
from dataclasses import dataclass, field

from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline
from aboutness_assets.database.service.row_criteria import OLD_DATED, WHOLE_TABLE, RowFilter, RowReader

OLD_STYLE_ROW_ADDED = "old_style_row_added"
OLD_STYLE_ROW_CHANGED = "old_style_row_changed"
OLD_STYLE_ROW_GONE = "old_style_row_gone"
"""What can be wrong with an old-style row, beside the names of criteria."""

KNOWN_AT_MOST = 10_000
"""Song ids that are kept per violation; all are counted."""


@dataclass(slots=True)
class Look:
    """How many rows were looked at, how many violate what, and which (at most KNOWN_AT_MOST of each)."""

    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    song_ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, violation: str, song_id: str) -> None:
        """Count one row that violates something."""
        self.counts[violation] += 1
        if len(self.song_ids[violation]) < KNOWN_AT_MOST:
            self.song_ids[violation].append(song_id)

    def add_others(self, other: Look) -> None:
        """Count what another look found in rows that are none of this one's."""
        self.rows += other.rows
        self.counts += other.counts
        for violation, song_ids in other.song_ids.items():
            kept = self.song_ids[violation]
            kept += song_ids[: KNOWN_AT_MOST - len(kept)]

    def add_unknown(self, other: Look) -> None:
        """Count what another look found in rows that this one has not counted; both are complete."""
        for violation, song_ids in other.song_ids.items():
            counted = set(self.song_ids[violation])
            for song_id in song_ids:
                if song_id not in counted:
                    self.add(violation, song_id)

    @property
    def is_complete(self) -> bool:
        """Whether every violating row is named."""
        return all(count == len(self.song_ids[violation]) for violation, count in self.counts.items())


async def look_at_rows(
    reader: RowReader, baseline: OldStyleBaseline, within: RowFilter = WHOLE_TABLE
) -> Look:
    """Look at the new rows that ``within`` chooses: every row that is not on record as old-style."""
    look = Look(rows=await reader.count(within))
    async with aclosing(reader.flagged(within)) as chunks:
        async for chunk in chunks:
            old_style = await baseline.among([song_id for song_id, _ in chunk])
            for song_id, violated in chunk:
                if song_id not in old_style:
                    for name in violated:
                        look.add(OLD_STYLE_ROW_ADDED if name == OLD_DATED else name, song_id)
    return look

"""Chooses the few rows that tell a person most about many texts. Pure; the same input, the same rows."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

_LEVELS = {"low": 0, "medium": 1, "high": 2}


@dataclass(frozen=True, slots=True)
class TextRow:
    """The texts of one song. confidences: as stored, of any case; '' where there is none.

    region: the part of the catalogue that the song lies in, any numbering. shared_by: how many songs have the
    same emotions or the same moments text, as far as the caller has counted; 1: no other that it knows of.
    """

    song_id: str
    title: str
    artist: str
    emotions_text: str
    emotions_confidence: str
    moments_text: str
    moments_confidence: str
    region: int = 0
    shared_by: int = 1

    @property
    def lengths(self) -> tuple[int, int]:
        """Characters of the emotions and of the moments text."""
        return len(self.emotions_text), len(self.moments_text)

    @property
    def confidence(self) -> int:
        """The sum of both confidences, 0 (both low or absent) to 4 (both high)."""
        both = (self.emotions_confidence, self.moments_confidence)
        return sum(_LEVELS.get(level.lower(), 0) for level in both)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A row of the sample, and in a few words why it was chosen."""

    row: TextRow
    why: str


def choose(rows: Sequence[TextRow], n: int) -> list[Chosen]:
    """At most ``n`` of the rows, no song twice: first those that stand out, then a random one per region.

    Standing out: the shortest and the longest text, the lowest confidence, the text that most songs share,
    and the row nearest to what is typical. "Random" means by a hash of the song id, so that the order and the
    number of the other rows do not matter.
    """
    chosen: dict[str, Chosen] = {}
    for row, why in _candidates(sorted(rows, key=_random)):
        if len(chosen) >= n:
            break
        chosen.setdefault(row.song_id, Chosen(row, why))
    return list(chosen.values())


def _candidates(rows: Sequence[TextRow]) -> Iterator[tuple[TextRow, str]]:
    if not rows:
        return
    shortest = min(rows, key=lambda row: min(row.lengths))
    yield shortest, f"shortest text: {min(shortest.lengths)} characters"
    longest = max(rows, key=lambda row: max(row.lengths))
    yield longest, f"longest text: {max(longest.lengths)} characters"
    yield min(rows, key=lambda row: row.confidence), "lowest confidence"
    emotions = Counter(row.emotions_text for row in rows)
    moments = Counter(row.moments_text for row in rows)

    def shared_by(row: TextRow) -> int:
        return max(row.shared_by, emotions[row.emotions_text], moments[row.moments_text])

    most_shared = max(rows, key=shared_by)
    if shared_by(most_shared) > 1:
        yield most_shared, f"a text that {shared_by(most_shared):,} songs share"
    yield _most_typical(rows), "typical lengths and confidence"
    yield from _one_per_region(rows)


def _most_typical(rows: Sequence[TextRow]) -> TextRow:
    """Of the rows with the commonest confidence the one nearest to the median of both lengths."""
    commonest, _ = Counter(row.confidence for row in rows).most_common(1)[0]
    medians = [float(median(lengths)) for lengths in zip(*(row.lengths for row in rows), strict=True)]

    def distance(row: TextRow) -> float:
        emotions_length, moments_length = row.lengths
        return abs(emotions_length - medians[0]) + abs(moments_length - medians[1])

    return min((row for row in rows if row.confidence == commonest), key=distance)


def _one_per_region(rows: Sequence[TextRow]) -> Iterator[tuple[TextRow, str]]:
    """One row per region in an order that spreads over all regions from the start, then a second one, …"""
    by_region: dict[int, list[TextRow]] = defaultdict(list)
    for row in rows:
        by_region[row.region].append(row)
    regions = [by_region[region] for region in spread(sorted(by_region))]
    for turn in zip_longest(*regions):
        yield from ((row, "random") for row in turn if row is not None)


def spread(items: Sequence[int]) -> list[int]:
    """The items in an order of which every beginning is spread evenly over the whole: first, middle, …"""
    bits = max(len(items) - 1, 0).bit_length()
    places = (int(f"{place:0{bits}b}"[::-1], 2) for place in range(2**bits))
    return [items[place] for place in places if place < len(items)]


def _random(row: TextRow) -> bytes:
    return hashlib.sha256(row.song_id.encode("utf-8", "surrogatepass")).digest()

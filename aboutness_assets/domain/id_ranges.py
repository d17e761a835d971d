"""Ranges of song_id: key <-> bounds, and how a catalogue is cut into ranges. Pure: no Dagster, no SQL.

Integer ids lie in arithmetic cells: of width 1000, cell k is [k*1000 + 1, (k+1)*1000], both ends inclusive,
and only cells that hold a song become ranges. Text and uuid ids lie in half-open ranges [lower, upper) in the
order of the database's own column; the first has no lower end and the last no upper, so every id, later
ones too, is in exactly one. Strings are never compared here: only the database knows its collation.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias
from uuid import UUID

from aboutness_assets.domain.errors import InvalidPartitionKey
from aboutness_assets.domain.songs import IdType, SongId

Interval: TypeAlias = tuple[int, int]
"""Integer ids from the first to the second, both inclusive."""

USUAL_RANGE_SIZE, USUAL_MOST_RANGES = 1000, 10_000
"""Songs per range, unless that makes more ranges than Dagster's UI shows well (docs/scale.md)."""

SMALLEST_ID, LARGEST_ID = -(2**63), 2**63 - 1  # of bigint

_INTEGER_KEY = re.compile(r"(-?[0-9]{9,19})-(-?[0-9]{9,19})")
# Dagster 1.13 refuses "..." and control characters in keys, its UI's partition selection takes only
# [-a-zA-Z0-9_:/@] unquoted, its CLI splits at commas, and "/" and "%" suffer in URLs. So a bound keeps
# [-a-zA-Z0-9_], every other byte of its UTF-8 becomes "@" and two hex digits, and ":" parts the bounds.
_UNSAFE = re.compile(rb"[^-a-zA-Z0-9_]")
_BOUND = re.compile(r"(?:[-a-zA-Z0-9_]|@[0-9A-F]{2})*")


@dataclass(frozen=True, slots=True)
class SongIdRange:
    """The songs of one partition.

    Integer ids: ``lower`` and ``upper`` are both inclusive and never None. Text and uuid ids: ``lower`` is
    inclusive, ``upper`` exclusive, both in the order of the database's column; None is an open end.
    """

    id_type: IdType
    lower: SongId | None
    upper: SongId | None

    @classmethod
    def of_every_id(cls, id_type: IdType) -> "SongIdRange":
        """The range in which every possible id lies."""
        return cls(id_type, SMALLEST_ID, LARGEST_ID) if id_type == "integer" else cls(id_type, None, None)

    @property
    def key(self) -> str:
        """The partition key: ``000000001-000001000``, or ``lower:upper`` with an open end left empty."""
        if isinstance(self.lower, int) and isinstance(self.upper, int):
            return f"{_padded(self.lower)}-{_padded(self.upper)}"
        return f"{_escaped(self.lower)}:{_escaped(self.upper)}"

    @classmethod
    def from_key(cls, key: str, id_type: IdType) -> "SongIdRange":
        """The range that ``key`` was written from; raises InvalidPartitionKey for any other string."""
        try:
            found = _integer_range(key) if id_type == "integer" else _string_range(key, id_type)
        except ValueError:
            found = None
        # A range has one spelling only, else two keys could name the same songs.
        if found is None or found.key != key:
            raise InvalidPartitionKey(
                f"The partition key {key[:200]!r} names no range of {id_type} song ids: run the job "
                "sync_song_id_ranges and use a key from the list song_id_ranges."
            )
        return found


def _padded(number: int) -> str:
    return f"{'-' if number < 0 else ''}{abs(number):09d}"


def _escaped(bound: SongId | None) -> str:
    if bound is None:
        return ""
    return _UNSAFE.sub(lambda byte: b"@%02X" % ord(byte[0]), str(bound).encode()).decode("ascii")


def _unescaped(text: str) -> str | None:
    """Raises ValueError where ``text`` is no escaped bound or no text that Postgres can hold."""
    if not _BOUND.fullmatch(text):
        raise ValueError(text)
    raw = re.sub(rb"@(..)", lambda match: bytes.fromhex(match[1].decode()), text.encode("ascii"))
    if b"\0" in raw:
        raise ValueError(text)
    return raw.decode() or None


def _integer_range(key: str) -> SongIdRange | None:
    match = _INTEGER_KEY.fullmatch(key)
    if not match:
        return None
    lower, upper = int(match[1]), int(match[2])
    return SongIdRange("integer", lower, upper) if SMALLEST_ID <= lower <= upper <= LARGEST_ID else None


def _string_range(key: str, id_type: IdType) -> SongIdRange | None:
    lower, separator, upper = (part if part == ":" else _unescaped(part) for part in key.partition(":"))
    if not separator or (lower is not None and lower == upper):
        return None
    if id_type == "uuid" and any(bound is not None and str(UUID(bound)) != bound for bound in (lower, upper)):
        return None
    return SongIdRange(id_type, lower, upper)


def covered_intervals(existing_keys: Iterable[str]) -> list[Interval]:
    """The intervals of existing integer keys, by id.

    Raises InvalidPartitionKey for a key that is none, and where two overlap: a song in two partitions would
    be paid for twice.
    """
    ranges = (SongIdRange.from_key(key, "integer") for key in existing_keys)
    covered = sorted(
        (found.lower, found.upper)
        for found in ranges
        if isinstance(found.lower, int) and isinstance(found.upper, int)
    )
    for before, after in pairwise(covered):
        if after[0] <= before[1]:
            raise InvalidPartitionKey(
                f"The partition keys {SongIdRange('integer', *before).key} and "
                f"{SongIdRange('integer', *after).key} overlap: delete one of them from song_id_ranges, then "
                "run the job sync_song_id_ranges, which creates what is then missing."
            )
    return covered


def uncovered_intervals(covered: Sequence[Interval]) -> list[Interval]:
    """The gaps that ``covered`` (by id, without overlaps) leaves among all ids of a bigint, by id."""
    starts = [SMALLEST_ID, *(upper + 1 for _, upper in covered)]
    ends = [*(lower - 1 for lower, _ in covered), LARGEST_ID]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start <= end]


def width_in_force(covered: Sequence[Interval], range_size: int) -> int:
    """The width of a cell, in ids: the commonest of the existing ranges, or ``range_size`` before any."""
    if not covered:
        return range_size
    counts = Counter(upper - lower + 1 for lower, upper in covered)
    return max(counts, key=lambda width: (counts[width], width))


def range_size_for(songs: int) -> int:
    """How many songs a range of a catalogue should have, where the operator does not say.

    The smallest of 1,000, 2,000, 5,000, 10,000 … that makes at most USUAL_MOST_RANGES ranges.
    """
    tens = USUAL_RANGE_SIZE
    while songs > 10 * tens * USUAL_MOST_RANGES:
        tens *= 10
    return next(tens * step for step in (1, 2, 5, 10) if songs <= tens * step * USUAL_MOST_RANGES)


def integer_ranges(uncovered: Sequence[Interval], song_ids: Iterable[int], width: int) -> list[SongIdRange]:
    """The new ranges that ``song_ids`` ask for, by id: cells of ``width`` ids, clipped to ``uncovered``.

    One id of each occupied cell and gap is enough; ids outside ``uncovered`` lie in a range already.
    """
    starts = [start for start, _ in uncovered]
    new: list[SongIdRange] = []
    covered_up_to = SMALLEST_ID - 1
    for song_id in sorted(song_ids):
        gap = bisect_right(starts, song_id) - 1
        if song_id <= covered_up_to or gap < 0 or song_id > uncovered[gap][1]:
            continue
        start, end = uncovered[gap]
        first = (song_id - 1) // width * width + 1
        covered_up_to = min(first + width - 1, end)
        new.append(SongIdRange("integer", max(first, start), covered_up_to))
    return new


def string_ranges(boundaries: Sequence[str], id_type: IdType) -> list[SongIdRange]:
    """The ranges that ``boundaries`` (strictly increasing in the database's order, none empty) part."""
    ends = [None, *boundaries, None]
    return [SongIdRange(id_type, lower, upper) for lower, upper in pairwise(ends)]


def check_string_ranges(existing_keys: Iterable[str], id_type: IdType) -> None:
    """Raises InvalidPartitionKey unless the keys of text or uuid ids join up to cover every id once."""
    ranges = [SongIdRange.from_key(key, id_type) for key in existing_keys]
    following = {found.lower: found for found in ranges}
    steps, end = 0, None
    while steps < len(ranges) and end in following:
        end = following[end].upper
        steps += 1
        if end is None:
            break
    if end is not None or steps != len(ranges):
        raise InvalidPartitionKey(
            "The partition keys of song_id_ranges do not join up to cover every song id exactly once (a key "
            "was added or deleted by hand): delete all of them, then run the job sync_song_id_ranges, which "
            "creates them again; songs that have a row are not paid for again."
        )

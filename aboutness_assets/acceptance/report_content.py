"""What a readiness report says. The arithmetic that leads to it is in report_figures.py. No I/O.

Each part states what its numbers were counted in: coverage in the whole catalogue, what texts are like in the
ranges that were read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from aboutness_assets.acceptance.telling_sample import Chosen
from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.database.operations.spending_report import RunSpending, SpendingLine

KINDS = ("emotions", "moments")
CONFIDENCES = ("low", "medium", "high")
OTHER = "other"
"""A stored confidence that is none of the three, or none at all."""

LIMIT = 100
"""Characters that a text may have (CONTRACT)."""

BIN = 5
"""Characters per bar of the picture of lengths."""


@dataclass(frozen=True, slots=True)
class RangeCount:
    """How many songs a range has, and how many of them have a row."""

    key: str
    songs: int
    with_row: int


@dataclass(frozen=True, slots=True)
class Part:
    """Neighboring ranges from the first key to the last: one bar of the picture of coverage."""

    first: str
    last: str
    songs: int
    with_row: int

    @property
    def share(self) -> float:
        """The share of songs that have a row; 0 where there is no song."""
        return self.with_row / self.songs if self.songs else 0.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """Songs of the catalogue and those with a row, counted.

    is_whole: the whole catalogue was counted in one statement; if not, the sum over ranges. uncounted: ranges
    that took too long to count. lacking: the ranges that lack most rows, those that lack most first.
    """

    songs: int
    with_row: int
    is_whole: bool
    ranges: int
    complete: int
    uncounted: int
    in_ranges: int
    parts: Sequence[Part]
    lacking: Sequence[RangeCount]

    @property
    def is_counted(self) -> bool:
        """Whether songs and with_row are of everything; if not, of the ranges that did not take too long."""
        return self.is_whole or not self.uncounted

    @property
    def share(self) -> float:
        """The share of songs that have a row; 0 where there is no song."""
        return self.with_row / self.songs if self.songs else 0.0


@dataclass(frozen=True, slots=True)
class RowsRead:
    """In how many of all ranges the texts were read, and how many rows these hold.

    too_long: ranges that were to be read and took too long.
    """

    ranges: int
    of_ranges: int
    new_rows: int
    old_style_rows: int
    too_long: int = 0

    @property
    def is_everything(self) -> bool:
        """Whether every range was read."""
        return self.ranges == self.of_ranges


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of texts in characters; bars: how many have 0 to 4, 5 to 9, …, 95 to 99, exactly 100, more."""

    texts: int
    shortest: int
    median: int
    most: int
    longest: int
    over_limit: int
    bars: Sequence[int]


@dataclass(frozen=True, slots=True)
class SharedText:
    """A text that several songs have; how many."""

    text: str
    songs: int


@dataclass(frozen=True, slots=True)
class Shared:
    """Texts of one kind that several songs have: how many texts, of how many songs, and the most shared."""

    texts: int
    songs: int
    most: Sequence[SharedText] = ()


@dataclass(frozen=True, slots=True)
class KindOfText:
    """What the texts of one kind are like; confidence: how many have which, by CONFIDENCES and OTHER."""

    confidence: Mapping[str, int]
    lengths: Lengths | None
    shared: Shared


@dataclass(frozen=True, slots=True)
class RunRate:
    """A run in the ledger, and what was written from its first request to its last.

    rows: None where not every range was read. is_alone: no other of these runs was under way meanwhile.
    """

    spending: RunSpending
    rows: int | None
    is_alone: bool

    @property
    def hours(self) -> float:
        """From its first request to its last, one second at least."""
        return max((self.spending.ended - self.spending.began).total_seconds(), 1) / 3600

    @property
    def rows_per_hour(self) -> float | None:
        """None where rows cannot be told to be this run's."""
        return None if self.rows is None or not self.is_alone else self.rows / self.hours


@dataclass(frozen=True, slots=True)
class Throughput:
    """When new rows were created: bars of equal width from ``start`` on, and the runs in the ledger.

    rows: how many new rows these are, those before the first bar too. busy_per_hour: rows per hour, of the
    minutes in which any row was created.
    """

    start: datetime | None
    rows: int
    minutes_per_bar: int
    bars: Sequence[int]
    busy_minutes: int
    busy_per_hour: float
    runs: Sequence[RunRate]


@dataclass(frozen=True, slots=True)
class Spent:
    """The ledger's sums over all budgets, and the estimate of what is left.

    to_go_usd: dollars (low, expected, high); None where there is no estimate. basis: what it rests on, or why
    there is none.
    """

    lines: Sequence[SpendingLine]
    to_go_usd: tuple[float, float, float] | None
    basis: str

    @property
    def billed_usd(self) -> float:
        """Dollars that were billed."""
        return sum(line.usd for line in self.lines)

    @property
    def uncertain_usd(self) -> float:
        """What requests that may have been billed can have cost at most."""
        return sum(line.max_usd for line in self.lines if line.state == "uncertain")

    @property
    def unpriced(self) -> int:
        """Billed requests of unknown price, which are in no sum."""
        return sum(line.unpriced for line in self.lines)


@dataclass(frozen=True, slots=True)
class Failures:
    """Songs on record as failed: how many per cause, how many in quarantine, and those that failed last."""

    causes: Mapping[str, int]
    quarantined: int
    latest: Sequence[FailedSongRecord]


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """A readiness report. rows: of the whole table, counted. old_style_recorded: None before any record."""

    made_at: datetime
    coverage: Coverage
    rows: int | None
    old_style_recorded: int | None
    read: RowsRead
    texts: Mapping[str, KindOfText]
    failures: Failures
    spent: Spent
    throughput: Throughput
    sample: Sequence[Chosen]

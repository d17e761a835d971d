"""How far a run is, how fast, what holds it up, what it cost; and the lines that say so in its log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aboutness_assets.pipeline.bottleneck import SECONDS_BETWEEN_LOOKS, Bottleneck, Limit
from aboutness_assets.pipeline.rate import Rate
from aboutness_assets.pipeline.report import Report, dollars
from aboutness_assets.pipeline.run_budget import RunBudget

SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What a run has done so far.

    songs: of its ranges; None while those of some are not counted. found: songs that had a row already, or
    got it from somebody else. left: songs without a row that have not failed; None while they are not
    counted. songs_per_second: rows written, over the last minute; is_settled: whether that tells how long
    the rest takes. usd: None where a price is unknown.
    """

    ranges: int
    ranges_done: int
    songs: int | None
    written: int
    found: int
    failed: int
    left: int | None
    songs_per_second: float
    is_settled: bool
    limit: Limit | None
    usd: float | None
    uncertain_usd: float
    is_pretend: bool

    @property
    def done(self) -> int:
        """Songs about which nothing is left to be done by the run."""
        return self.written + self.found + self.failed

    @property
    def seconds_left(self) -> float | None:
        """At the rate of the last minute; None where that, or what is left, is not known."""
        if self.left is None or not self.is_settled:
            return None
        return self.left / self.songs_per_second


class Progress:
    """Watches a run with all its ranges, and says now and then in its log how far it is."""

    def __init__(
        self,
        ranges: int,
        budget: RunBudget,
        log: logging.Logger,
        bottleneck: Bottleneck,
        *,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ranges = ranges
        self._budget = budget
        self._log = log
        self._bottleneck = bottleneck
        self._seconds_between_lines = seconds_between_lines
        self._clock = clock
        self._rate = Rate(clock())
        self._reports: list[Report] = []
        self._ended = _Sums()
        self._ended_ranges = 0
        self._begun_keys: set[str] = set()
        self._counted: Mapping[str, tuple[int, int]] | None = None

    def begin(self, report: Report) -> None:
        """Count this range in."""
        self._reports.append(report)

    def end(self, report: Report) -> None:
        """Keep its sums alone."""
        self._reports.remove(report)
        self._ended.add(report)
        self._ended_ranges += 1

    def counts_itself(self, range_key: str) -> None:
        """This range begins; its own report says from now on how many songs it has."""
        self._begun_keys.add(range_key)

    def count(self, songs_and_rows: Mapping[str, tuple[int, int]]) -> None:
        """All ranges of the run were counted: per range its songs, and how many of them have a row."""
        self._counted = songs_and_rows

    @asynccontextmanager
    async def logged(self) -> AsyncIterator[None]:
        """Watch while the body runs, and log a line every few seconds in which something is done."""
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._log_lines())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def songs_written(self) -> int:
        """Rows written by the run so far."""
        return self._sums().written

    def look(self, late_seconds: float = 0.0) -> None:
        """Take note of the rate and of what holds the run up now; late_seconds: see Bottleneck.look."""
        now = self._clock()
        self._rate.look(now, self.songs_written)
        if self._reports:
            self._bottleneck.look(now, late_seconds)

    def figures(self) -> RunFigures:
        """How far the run is now."""
        total, budget, rate = self._sums(), self._budget, self._rate.settled
        songs, left = self._songs_and_left(total)
        return RunFigures(
            self._ranges,
            self._ended_ranges,
            songs,
            total.written,
            total.skipped,
            total.failed,
            left,
            self._rate.per_second if rate is None else rate,
            rate is not None,
            self._bottleneck.limit,
            budget.run_billed_usd,
            budget.run_uncertain_usd,
            budget.is_pretend,
        )

    def line(self) -> str:
        """The same for the log."""
        now = self.figures()
        parts = [
            f"{now.done:,} of {now.songs:,} songs done ({percent(now.done, now.songs)})"
            if now.songs is not None
            else f"{now.done:,} songs done (the run's songs are being counted)",
            f"{now.ranges_done} of {now.ranges} ranges",
            f"{now.songs_per_second:.1f} songs/s",
            "? left" if now.seconds_left is None else f"about {clock(now.seconds_left)} left",
        ]
        if now.limit is not None:
            parts.append(f"limited by {now.limit.words}")
        return ", ".join([*parts, f"{now.failed:,} failed", self._spent()])

    def _songs_and_left(self, total: _Sums) -> tuple[int | None, int | None]:
        songs, left = total.in_range, total.in_range - total.written - total.skipped - total.failed
        if self._ended_ranges + len(self._reports) < self._ranges:
            if self._counted is None:
                return None, None
            to_begin = [
                count for range_key, count in self._counted.items() if range_key not in self._begun_keys
            ]
            songs += sum(in_range for in_range, _ in to_begin)
            left += sum(in_range - with_row for in_range, with_row in to_begin)
        return songs, max(0, left)

    def _sums(self) -> _Sums:
        total = _Sums()
        total.add_sums(self._ended)
        for report in self._reports:
            total.add(report)
        return total

    def _spent(self) -> str:
        budget, spent = self._budget, self._budget.spending
        of_cap = "" if budget.max_usd is None else f" of {dollars(budget.max_usd)}"
        uncertain = f", {dollars(spent.uncertain_usd)} uncertain" if spent.uncertain_usd else ""
        pretend = " (pretend price)" if budget.is_pretend else ""
        return f"{dollars(spent.billed_usd)}{of_cap} spent{uncertain}{pretend}"

    async def _watch(self) -> None:
        planned = self._clock()
        while True:
            planned = max(self._clock(), planned) + SECONDS_BETWEEN_LOOKS
            await asyncio.sleep(planned - self._clock())
            self.look(self._clock() - planned)

    async def _log_lines(self) -> None:
        told = ""
        while True:
            await asyncio.sleep(self._seconds_between_lines)
            line = self.line()
            if self._reports and line != told:
                told = line
                self._log.info("%s", line)


class _Sums:
    """Songs of several ranges."""

    def __init__(self) -> None:
        self.in_range = self.written = self.skipped = self.failed = 0

    def add(self, report: Report) -> None:
        self.in_range += report.songs_in_range
        self.written += report.songs_written
        self.skipped += report.songs_skipped_existing
        self.failed += report.songs_failed

    def add_sums(self, other: _Sums) -> None:
        self.in_range += other.in_range
        self.written += other.written
        self.skipped += other.skipped
        self.failed += other.failed


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(part: int, whole: int) -> str:
    """A share in whole percent, rounded down: 100 % means all."""
    return f"{100 if part >= whole else 100 * part // whole} %"

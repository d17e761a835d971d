"""Lines of progress for the person who watches a run."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aboutness_assets.pipeline.report import Report, dollars
from aboutness_assets.pipeline.run_budget import RunBudget

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Says now and then how far a run is with all its ranges, how fast, how long it takes, what it cost."""

    def __init__(
        self,
        ranges: int,
        budget: RunBudget,
        log: logging.Logger,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self._ranges = ranges
        self._budget = budget
        self._log = log
        self._seconds_between_lines = seconds_between_lines
        self._began_at = time.monotonic()
        self._reports: list[Report] = []
        self._ended = _Sums()
        self._ended_ranges = 0

    def begin(self, report: Report) -> None:
        """Count this range in."""
        self._reports.append(report)

    def end(self, report: Report) -> None:
        """Keep its sums alone."""
        self._reports.remove(report)
        self._ended.add(report)
        self._ended_ranges += 1

    @asynccontextmanager
    async def logged(self) -> AsyncIterator[None]:
        """Log a line every few seconds while the body runs and something is done."""
        lines = asyncio.create_task(self._log_lines())
        try:
            yield
        finally:
            lines.cancel()
            await asyncio.gather(lines, return_exceptions=True)

    @property
    def songs_written(self) -> int:
        """Rows written by the run so far."""
        return self._sums().written

    def line(self) -> str:
        """How far the run is now."""
        total = self._sums()
        done = total.written + total.skipped + total.failed
        rate = total.written / max(time.monotonic() - self._began_at, 1e-9)
        begun = self._ended_ranges + len(self._reports)
        # Songs of ranges that are yet to begin are not counted yet: as many as in those that have begun.
        songs = total.in_range * max(self._ranges, 1) / max(begun, 1)
        about = "about " if begun < self._ranges else ""
        left = clock(max(songs - done, 0) / rate) if rate else "?"
        return (
            f"{done} of {about}{songs:.0f} songs done ({100 * done / max(songs, 1):.0f} %), "
            f"{self._ended_ranges} of {self._ranges} ranges, {rate:.1f} songs/s, about {left} left, "
            f"{total.failed} failed, {self._spent()}"
        )

    def _sums(self) -> "_Sums":
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

    def add_sums(self, other: "_Sums") -> None:
        self.in_range += other.in_range
        self.written += other.written
        self.skipped += other.skipped
        self.failed += other.failed


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

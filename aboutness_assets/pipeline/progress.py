"""Lines of progress for the person who watches a run."""

import logging
import time

from aboutness_assets.pipeline.report import Report, dollars

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Tells now and then how far a run is with all its ranges, how fast, how long it takes, what it cost."""

    def __init__(self, ranges: int, log: logging.Logger) -> None:
        self._ranges = ranges
        self._log = log
        self._began_at = self._told_at = time.monotonic()
        self._reports: list[Report] = []
        self._ended = Report()
        self._ended_ranges = 0

    def begin(self, report: Report) -> None:
        """Count this range in."""
        self._reports.append(report)

    def end(self, report: Report) -> None:
        """Keep its sums alone."""
        self._reports.remove(report)
        self._ended.add(report)
        self._ended_ranges += 1

    def log_if_due(self) -> None:
        """Log one line, unless the last one is younger than SECONDS_BETWEEN_LINES."""
        now = time.monotonic()
        if now - self._told_at < SECONDS_BETWEEN_LINES:
            return
        self._told_at = now
        total = Report()
        for report in (self._ended, *self._reports):
            total.add(report)
        done = total.songs_written + total.songs_skipped_existing + total.songs_failed
        rate = total.songs_written / (now - self._began_at)
        begun = self._ended_ranges + len(self._reports)
        # Songs of ranges that are yet to begin are not counted yet: as many as in those that have begun.
        songs = total.songs_in_range * max(self._ranges, 1) / max(begun, 1)
        self._log.info(
            "%d of %s%d songs done (%.0f %%), %d of %d ranges, %.1f songs/s, about %s left, %d failed, "
            "%s so far",
            done,
            "about " if begun < self._ranges else "",
            songs,
            100 * done / max(songs, 1),
            self._ended_ranges,
            self._ranges,
            rate,
            clock(max(songs - done, 0) / rate) if rate else "?",
            total.songs_failed,
            dollars(total.cost_usd),
        )


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

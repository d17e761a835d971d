"""Lines of progress for the person who watches a run."""

import logging
import time

from aboutness_assets.report import Report, dollars

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Tells now and then how far a run is, how fast, how long it will take and what it has cost."""

    def __init__(self, report: Report, log: logging.Logger) -> None:
        self._report = report
        self._log = log
        self._told_at = time.monotonic()

    def tell(self) -> None:
        """Log one line, unless the last one is younger than SECONDS_BETWEEN_LINES."""
        now = time.monotonic()
        if now - self._told_at < SECONDS_BETWEEN_LINES:
            return
        self._told_at = now
        report = self._report
        done = report.songs_written + report.songs_skipped_existing + report.songs_failed
        rate = report.songs_per_second
        left = max(report.songs_in_range - done, 0)
        self._log.info(
            "%d of %d songs done (%.0f %%), %.1f songs/s, about %s left, %d failed, %s so far",
            done,
            report.songs_in_range,
            100 * done / max(report.songs_in_range, 1),
            rate,
            clock(left / rate) if rate else "?",
            report.songs_failed,
            dollars(report.cost_usd),
        )


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""How fast rows are written: over the last minute, and whether that says yet how long the rest takes."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0

BASIS_SECONDS = 10.0
"""From the first rows on: before it, no time left is told."""

BASIS_ARRIVALS = 3
"""How often rows must have come after the first ones. They come many at once (an embedding request holds up
to 500 songs), so that a rate errs by up to one arrival: with three by a third."""


class Rate:
    """Rows written so far, looked at several times a second. Times are seconds on one clock.

    The first minute is counted from the first rows on, without them: until then the pipeline fills up.
    """

    def __init__(self, now: float) -> None:
        self._began_at = now
        self._looks: deque[tuple[float, int]] = deque([(now, 0)])
        self._first_rows_at: float | None = None
        self._arrivals = 0

    def look(self, now: float, written: int) -> None:
        """Take note of how many rows are written by now."""
        if written > self._looks[-1][1]:
            self._arrivals += 1
            if self._first_rows_at is None:
                self._first_rows_at = now
                self._looks.clear()
                self._arrivals = 0
        self._looks.append((now, written))
        while len(self._looks) > 2 and self._looks[1][0] <= now - WINDOW_SECONDS:
            self._looks.popleft()

    @property
    def per_second(self) -> float:
        """Rows per second over the last minute; from the beginning on until that can be trusted (settled)."""
        (since, before), (until, written) = self._looks[0], self._looks[-1]
        if not self._has_basis:
            since, before = self._began_at, 0
        return (written - before) / (until - since) if until > since else 0.0

    @property
    def settled(self) -> float | None:
        """The same once it can be trusted to tell how long the rest takes; None before, and while it is 0."""
        return (self.per_second or None) if self._has_basis else None

    @property
    def _has_basis(self) -> bool:
        if self._first_rows_at is None or self._arrivals < BASIS_ARRIVALS:
            return False
        return self._looks[-1][0] - self._first_rows_at >= BASIS_SECONDS

"""The brake: writes less at a time, and rests, while the service's database is slow. No I/O but sleeping.

Two things count as slow, and each transaction of rows is judged by itself:

- it took longer than SLOW_SECONDS, and each of its rows longer than SLOW_FACTOR times a row of the quickest
  of the last transactions;
- a standby is more than LAG_SECONDS behind, where the role may see it.

A slow transaction halves the number of writers and lets the database rest for as long as it took; each other
one adds a writer, until all may write again. Whoever waits here takes no further answers, so fewer texts are
asked for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aboutness_assets.limits.slots import Slots

SLOW_SECONDS = 1.0
"""500 rows with vectors of 1,536 numbers take 0.1 to 0.4 s where there is no index on the vectors."""

SLOW_FACTOR = 4.0
"""Six writers on two cores slow one another down by less."""

COMPARED_TRANSACTIONS = 200
"""So many are remembered: a table whose index grows becomes slower without anything being wrong."""

LEAST_ROWS = 50
"""A transaction of fewer rows is compared as one of so many: it takes its time whatever it holds."""

LAG_SECONDS = 30.0
LAG_REST_SECONDS = 10.0
LOOK_AT_LAG_SECONDS = 10.0
"""How far a standby may be behind, how long the database rests then, and how often that is looked at."""

MAX_REST_SECONDS = 30.0

SECONDS_BETWEEN_LINES = 60.0


class DatabaseBrake:
    """How many transactions of rows one run may have open now, and when the next may begin.

    writers: at most. clock and sleep are in seconds.
    """

    def __init__(
        self,
        writers: int,
        log: logging.Logger,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._max_writers = writers
        self._slots = Slots(writers)
        self._log = log
        self._clock = clock
        self._sleep = sleep
        self._seconds_per_row: deque[float] = deque(maxlen=COMPARED_TRANSACTIONS)
        self._rests_until = -math.inf
        self._looked_at_lag = -math.inf
        self._told_at = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether the run is limited by the database now."""
        return self._slots.size < self._max_writers or self._rests_until > self._clock()

    @property
    def writers(self) -> int:
        """How many may write at once now."""
        return self._slots.size

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for the turn of one transaction of rows, and until the database has rested."""
        await self._slots.acquire()
        try:
            while (rest := self._rests_until - self._clock()) > 0:
                await self._sleep(rest)
            yield
        finally:
            self._slots.release()

    def took(self, seconds: float, rows: int) -> None:
        """Judge a transaction by the seconds that it took, without the wait for its turn."""
        per_row = seconds / max(rows, LEAST_ROWS)
        quickest = min(self._seconds_per_row, default=per_row)
        self._seconds_per_row.append(per_row)
        if seconds > SLOW_SECONDS and per_row > SLOW_FACTOR * quickest:
            self._slow_down(
                seconds, f"{rows} rows took {seconds:.1f} s, {per_row / quickest:.0f} times as long as before"
            )
        elif self._slots.size < self._max_writers and self._rests_until <= self._clock():
            self._slots.resize(self._slots.size + 1)
            if self._slots.size == self._max_writers:
                self._told_at = -math.inf
                self._log.info("No longer limited by the database: %d writers again.", self._max_writers)

    @property
    def is_lag_due(self) -> bool:
        """Whether it is time to look at the standbys; True once per LOOK_AT_LAG_SECONDS."""
        if self._clock() < self._looked_at_lag + LOOK_AT_LAG_SECONDS:
            return False
        self._looked_at_lag = self._clock()
        return True

    def lags(self, seconds: float) -> None:
        """Judge how far the standby that is furthest behind is behind."""
        if seconds > LAG_SECONDS:
            self._slow_down(LAG_REST_SECONDS, f"a standby is {seconds:.0f} s behind")

    def _slow_down(self, rest: float, why: str) -> None:
        self._slots.resize(max(1, self._slots.size // 2))
        self._rests_until = self._clock() + min(rest, MAX_REST_SECONDS)
        if self._clock() >= self._told_at + SECONDS_BETWEEN_LINES:
            self._told_at = self._clock()
            self._log.warning(
                "Limited by the database: %s. Writers at once: %d of %d, after a rest of %.1f s.",
                why,
                self._slots.size,
                self._max_writers,
                min(rest, MAX_REST_SECONDS),
            )

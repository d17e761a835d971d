"""Whether this process surely holds its locks; while it is in doubt, nothing is sent and no row is written.

Postgres gives the locks of a host that is silent to the next run. The host itself cannot see that happen, but
it knows how long ago Postgres last answered it, and stops well before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

HEARTBEAT_SECONDS = 2.0
"""Between two questions to the session that holds the locks."""

CERTAIN_SECONDS = 8.0
"""So long after the sending of a question that was answered the locks are surely held."""

GIVEN_AWAY_SECONDS = 20
"""A session is kept by Postgres so long at least, and 5 s longer at most, after its client was last heard.
What was sent to Postgres while the locks were surely held has arrived by then, or is dropped by the client's
own system (silence.UNHEARD_SECONDS)."""


def _seconds_awake_or_not() -> float:
    """A clock that goes on while the machine is suspended: its locks may be given away then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Hold:
    """Locks that are held, or in doubt; clock is in seconds. In doubt until ``confirm`` is called."""

    def __init__(self, clock: Callable[[], float] = _seconds_awake_or_not) -> None:
        self.clock = clock
        self._confirmed_at = -math.inf
        self._confirmed = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()

    @property
    def is_certain(self) -> bool:
        """Whether nobody else can have the locks now."""
        return self._seconds_left() > 0

    async def certain(self) -> None:
        """Wait while the locks are in doubt."""
        while not self.is_certain:
            await self._confirmed.wait()

    @asynccontextmanager
    async def while_certain(self) -> AsyncIterator[None]:
        """Wait while the locks are in doubt; cancels the body, with TimeoutError, when they become so."""
        await self.certain()
        async with asyncio.timeout(self._seconds_left()) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def confirm(self, asked_at: float) -> None:
        """The session that holds the locks answered a question that was sent at this time of the clock."""
        self._confirmed_at = asked_at
        self._confirmed.set()
        self._confirmed = asyncio.Event()
        at = asyncio.get_running_loop().time() + self._seconds_left()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(at)

    def doubt(self) -> None:
        """The session is lost: nothing more may begin. What has begun keeps the time that it had."""
        self._confirmed_at = -math.inf

    def _seconds_left(self) -> float:
        return self._confirmed_at + CERTAIN_SECONDS - self.clock()

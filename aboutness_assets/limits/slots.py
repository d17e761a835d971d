"""How many requests one process has in flight."""

import asyncio
import math
from collections import deque

UNKNOWN_IN_FLIGHT = 64
"""Slots while no limit is known."""

MIN_IN_FLIGHT = 8
MAX_IN_FLIGHT = 512
"""Bounds of what Little's law asks for. Above some hundred requests in flight one process only adds latency
(measured: FACTS, 128; a limit of 5,000 per minute at 4 s asks for 333)."""

MIN_LATENCIES = 16
"""Latencies before their mean counts: the first answers to come back are the quick ones."""

AVERAGED_OVER = 100


class RunningMean:
    """The mean of about the last hundred values."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        """Take in one more value."""
        self.count += 1
        self.value += (value - self.value) / min(self.count, AVERAGED_OVER)


class Slots:
    """A semaphore, first come, first served, whose size may change while it is in use."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    async def acquire(self) -> None:
        """Take a slot; waits while none is free."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was granted before the cancellation arrived: the next one gets it
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        self.in_use -= 1
        self._grant()

    def resize(self, size: int) -> None:
        """Change the size; slots beyond a smaller one are kept until they are released."""
        self.size = size
        self._grant()

    def _grant(self) -> None:
        while self.in_use < self.size and self._waiting:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self.in_use += 1
                turn.set_result(None)


def slots_for(requests_per_second: float | None, latency: RunningMean, *, limit_known: bool) -> int:
    """How many requests to have in flight at this rate, by Little's law.

    latency: in seconds. limit_known: whether the rate is the provider's limit rather than a guess.
    """
    if requests_per_second is None:
        return UNKNOWN_IN_FLIGHT
    if latency.count < MIN_LATENCIES:  # a known limit is enough to hold requests back
        return MAX_IN_FLIGHT if limit_known else UNKNOWN_IN_FLIGHT
    # Little's law gives the mean number in flight. The number itself is Poisson distributed about it (M/G/∞),
    # so with four standard deviations more the limit hardly ever stays unused.
    mean = requests_per_second * latency.value
    return min(MAX_IN_FLIGHT, max(MIN_IN_FLIGHT, math.ceil(mean + 4 * math.sqrt(mean))))

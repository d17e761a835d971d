"""Keeps one kind of request (chat or embedding) within the provider's limits, in one process.

A request passes three gates: a slot (how many are in flight), the pause of a 429 (which stops all), and the
budget (requests and tokens a minute). ``Budget`` knows nothing of waiting tasks, so that one shared by
several processes can take its place.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aboutness_assets.rate_limit_headers import Quota, rate_limit_wait, read_quota

# A budget that was not used can be made up for within this time. OpenAI says that a limit a minute may be
# enforced over shorter spans (60,000 a minute as 1,000 a second), so it is no longer than a second.
BURST_SECONDS = 1.0

# Slots while nothing is known; bounds of what Little's law asks for. Above some hundred requests in flight
# one process only adds latency (measured: FACTS, 128; a limit of 5,000 a minute at 4 s asks for 333).
UNKNOWN_IN_FLIGHT = 64
MIN_IN_FLIGHT = 8
MAX_IN_FLIGHT = 512

# The first answers to come back are the quick ones: the mean latency is not believed before so many.
LATENCIES_BEFORE_BELIEF = 16
_AVERAGED_OVER = 100

# No provider means more; a header that says days is a mistake or an attack.
MAX_PAUSE_SECONDS = 600.0

# After a pause the k-th time span lets RAMP_FIRST × 2^k requests go; a span is as long as the pause was, at
# most RAMP_SPAN_SECONDS. When RAMP_REQUESTS have gone the ramp is over.
RAMP_FIRST = 4
RAMP_SPAN_SECONDS = 1.0
RAMP_REQUESTS = MAX_IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Pause:
    """What a 429 came to.

    seconds: until requests may go again. added: seconds by which this 429 lengthened the pause.
    begins: whether it began a new pause (a 429 to a request of before the pause belongs to the same storm).
    asked: what the server asked for where that was cut to MAX_PAUSE_SECONDS, else None.
    """

    seconds: float
    added: float
    begins: bool
    asked: float | None


class Bucket:
    """A token bucket: ``per_minute`` units a minute, 0 = no limit known. Its level may go below zero."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._configured = per_minute
        self._now = now
        self.per_minute = per_minute
        self._level = self._capacity

    @property
    def per_second(self) -> float:
        """Units a second; 0 = no limit known."""
        return self.per_minute / 60

    @property
    def _capacity(self) -> float:
        return max(1.0, self.per_second * BURST_SECONDS)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken. More than the bucket holds may be taken when it is full."""
        if not self.per_minute:
            return 0.0
        self._refill(now)
        lacking = min(amount, self._capacity) - self._level
        return lacking / self.per_second if lacking > 1e-9 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Takes ``amount`` units; a negative amount gives back."""
        self._refill(now)
        self._level = min(self._capacity, self._level - amount)

    def observe(self, quota: Quota, now: float) -> None:
        """Learns the limit; a configured one may be lower than the account's, never higher."""
        if not quota.limit:
            return
        limit = min(quota.limit, self._configured or quota.limit)
        if limit == self.per_minute:
            return
        self._refill(now)
        # What was sent before any limit was known has used some of it, and only the provider knows how much.
        level = self._level if self.per_minute else quota.remaining or 0.0
        self.per_minute = limit
        self._level = min(level, self._capacity)

    def _refill(self, now: float) -> None:
        self._level = min(self._capacity, self._level + (now - self._now) * self.per_second)
        self._now = now


class Budget:
    """The requests and tokens a minute of one kind of request, in this process."""

    def __init__(self, requests_per_minute: float, tokens_per_minute: float, now: float) -> None:
        self._requests = Bucket(requests_per_minute, now)
        self._tokens = Bucket(tokens_per_minute, now)
        self._tokens_a_request = _Mean()

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request of so many tokens may go; 0 = now."""
        return max(self._requests.wait(1, now), self._tokens.wait(tokens, now))

    def take(self, tokens: float, now: float) -> None:
        """Takes a request of so many tokens."""
        self._requests.take(1, now)
        self._tokens.take(tokens, now)
        self._tokens_a_request.add(tokens)

    def settle(self, estimated: float, used: float, now: float) -> None:
        """Corrects an estimate by what the provider counted."""
        self._tokens.take(used - estimated, now)

    def observe(self, headers: Mapping[str, str], now: float) -> None:
        """Learns the limits that the provider's headers state."""
        self._requests.observe(read_quota(headers, "requests"), now)
        self._tokens.observe(read_quota(headers, "tokens"), now)

    @property
    def requests_per_second(self) -> float | None:
        """Requests a second that both limits allow; None while neither is known."""
        rates = []
        if self._requests.per_second:
            rates.append(self._requests.per_second)
        if self._tokens.per_second and self._tokens_a_request.value:
            rates.append(self._tokens.per_second / self._tokens_a_request.value)
        return min(rates, default=None)


class _Mean:
    """The running mean of the last hundred or so values."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) / min(self.count, _AVERAGED_OVER)


class _Slots:
    """A semaphore, first come first served, whose size may change."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # granted and cancelled in the same breath: the next one gets it
                self.release()
            raise

    def release(self) -> None:
        self.in_use -= 1
        self._grant()

    def resize(self, size: int) -> None:
        self.size = size
        self._grant()

    def _grant(self) -> None:
        while self.in_use < self.size and self._waiting:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self.in_use += 1
                turn.set_result(None)


class Throttle:
    """Paces one kind of request: ``slot`` around a request with its retries, ``reserve`` before each sending.

    requests_per_minute, tokens_per_minute: the account's limits; 0 = learnt from the provider's headers, no
    limit until then. rate_limit_waits: seconds to wait at the first, second … 429 in a row that names no time
    of its own (the last one for all that follow). max_in_flight: slots; 0 = as many as limit × latency asks
    for. clock and sleep are in seconds.
    """

    def __init__(
        self,
        *,
        requests_per_minute: float = 0,
        tokens_per_minute: float = 0,
        rate_limit_waits: Sequence[float] = (15.0, 30.0),
        max_in_flight: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._waits = tuple(rate_limit_waits) or (0.0,)
        self._budget = Budget(requests_per_minute, tokens_per_minute, clock())
        self._turn = asyncio.Lock()  # asyncio wakes its waiters in the order in which they came
        self._sizes_itself = max_in_flight == 0
        self._slots = _Slots(max_in_flight or UNKNOWN_IN_FLIGHT)
        self._latency = _Mean()
        self._storm = 0  # 429s in a row, those of one pause counted once
        self._pause_began = -math.inf
        self._paused_until = -math.inf
        self._ramp_gone = RAMP_REQUESTS

    @property
    def max_in_flight(self) -> int:
        """How many requests may be in flight now."""
        return self._slots.size

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return self._slots.in_use

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Holds one of the slots; waits, first come first served, while none is free."""
        await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    async def reserve(self, tokens: int) -> float:
        """Waits until a request of so many (estimated) tokens may go; returns the clock's time then."""
        async with self._turn:
            while (wait := self._wait(tokens)) > 0:
                await self._sleep(wait)
            now = self._clock()
            self._budget.take(tokens, now)
            self._ramp_gone += 1
            return now

    def settle(self, estimated: int, used: int) -> None:
        """Gives back, or takes, the difference between the tokens reserved and those the provider counted."""
        self._budget.settle(estimated, used, self._clock())

    def observe(self, headers: Mapping[str, str], sent_at: float) -> None:
        """Learns limits, latency and the end of a storm from the answer to a request sent at sent_at."""
        now = self._clock()
        self._budget.observe(headers, now)
        self._latency.add(now - sent_at)
        if sent_at > self._pause_began:
            self._storm = 0
        if self._sizes_itself:
            self._slots.resize(self._size_asked_for())

    def rate_limited(self, headers: Mapping[str, str], sent_at: float) -> Pause:
        """Pauses every request of this kind, as long as the 429's headers say, else by rate_limit_waits."""
        now = self._clock()
        self._budget.observe(headers, now)
        said = rate_limit_wait(headers)
        wait = None if said is None else min(said, MAX_PAUSE_SECONDS)
        begins = sent_at > self._pause_began
        if begins:
            if wait is None:
                wait = self._waits[min(self._storm, len(self._waits) - 1)]
            self._storm += 1
            self._pause_began = now
        before = max(now, self._paused_until)
        self._paused_until = max(before, now + (wait or 0.0))
        if self._paused_until > before:
            self._ramp_gone = 0
        return Pause(
            seconds=self._paused_until - now,
            added=self._paused_until - before,
            begins=begins,
            asked=said if said is not None and said > MAX_PAUSE_SECONDS else None,
        )

    def _wait(self, tokens: int) -> float:
        now = self._clock()
        return max(self._ramp_time() - now, self._budget.wait(tokens, now))

    def _ramp_time(self) -> float:
        """When the next request may go, as far as the last pause is concerned."""
        if self._ramp_gone >= RAMP_REQUESTS:
            return self._paused_until
        span = min(RAMP_SPAN_SECONDS, self._paused_until - self._pause_began)
        return self._paused_until + span * math.log2(1 + self._ramp_gone / RAMP_FIRST)

    def _size_asked_for(self) -> int:
        rate = self._budget.requests_per_second
        if rate is None or self._latency.count < LATENCIES_BEFORE_BELIEF:
            return UNKNOWN_IN_FLIGHT
        # Little's law gives the mean number in flight; about it the number spreads as Poisson's does (M/G/∞),
        # so four standard deviations more hardly ever leave the limit unused.
        mean = rate * self._latency.value
        return min(MAX_IN_FLIGHT, max(MIN_IN_FLIGHT, math.ceil(mean + 4 * math.sqrt(mean))))

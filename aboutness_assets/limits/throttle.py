"""Keeps one kind of request (chat or embedding) within the provider's limits, together with all processes.

A request passes two gates: a slot (how many this process has in flight) and a reservation of the limits that
all processes share. Reservations are taken in leases of a tenth of a second, so that a round trip to our own
Postgres serves many requests, and the lease of a process that dies is over before anyone misses it.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice

from aboutness_assets.database.operations.limit_store import Lease, Pause, RateLimit, Seen
from aboutness_assets.limits.headers import rate_limit_wait, read_quota

LEASE_SECONDS = 0.1
"""Of the limit, reserved at once at most: also how long requests may still go after another process' 429."""

LONG_WAIT_SECONDS = 1.0
"""After a longer wait it is asked again whether another process' 429 has paused all."""

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


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that may go.

    at: seconds on the throttle's clock. tokens: reserved for it. with_answer: whether they count the answer.
    all_requests, all_tokens: reserved by all processes up to it.
    """

    at: float
    tokens: float
    with_answer: bool
    all_requests: float
    all_tokens: float


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

    max_in_flight: slots; 0 = as many as limit × latency asks for. clock and sleep are in seconds.
    """

    def __init__(
        self,
        limit: RateLimit,
        *,
        max_in_flight: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()  # asyncio wakes its waiters in the order in which they came
        self._waiting: deque[tuple[float, float]] = deque()  # (prompt, completion) tokens of each
        self._reserved: deque[Reservation] = deque()
        self._lease: Lease | None = None
        self._tokens_a_request = _Mean()
        self._prompt_tokens = _Mean()
        self._completion_tokens = _Mean()
        self._settled = 0.0
        self._answered = 0
        self._seen_sent_at = -math.inf
        self._seen: Seen | None = None
        self._sizes_itself = max_in_flight == 0
        self._slots = _Slots(max_in_flight or UNKNOWN_IN_FLIGHT)
        self._latency = _Mean()

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

    async def reserve(self, prompt_tokens: float, completion_tokens: float = 0) -> Reservation:
        """Waits until a request of so many (estimated) tokens may go.

        Raises FatalError when our own Postgres stays away.
        """
        estimate = (prompt_tokens, completion_tokens)
        self._waiting.append(estimate)
        try:
            async with self._turn:
                while True:
                    if not self._reserved:
                        await self._take_lease()
                    reservation = self._reserved[0]
                    wait = reservation.at - self._clock()
                    if wait > 0:
                        await self._sleep(wait)
                    if wait > LONG_WAIT_SECONDS and (await self._tell(0, 0)).paused:
                        self._reserved.clear()
                    # A 429 that came meanwhile, here or elsewhere, has taken the reservations back.
                    if self._reserved and self._reserved[0] is reservation:
                        return self._reserved.popleft()
        finally:
            self._waiting.remove(estimate)

    def settle(self, reservation: Reservation, prompt_tokens: int, completion_tokens: int) -> None:
        """Gives back, or takes, the difference between the tokens reserved and those the provider counted."""
        used = prompt_tokens + completion_tokens * reservation.with_answer
        self._tokens_a_request.add(used)
        self._settled += used - reservation.tokens

    def observe(self, headers: Mapping[str, str], reservation: Reservation) -> None:
        """Learns limits and latency from the answer to a request."""
        now = self._clock()
        self._latency.add(now - reservation.at)
        self._answered += 1
        if reservation.at > self._seen_sent_at:
            self._seen_sent_at = reservation.at
            self._seen = Seen(
                0.0,
                reservation.all_requests,
                reservation.all_tokens,
                read_quota(headers, "requests"),
                read_quota(headers, "tokens"),
            )
        if self._sizes_itself:
            self._slots.resize(self._size_asked_for())

    async def rate_limited(
        self, headers: Mapping[str, str], reservation: Reservation
    ) -> tuple[Pause, float | None]:
        """Pauses every request of this kind, as long as the 429's headers say; in all processes.

        Returns the pause, and the seconds that the server asked for where they were cut to
        MAX_PAUSE_SECONDS, else None.
        """
        self._reserved.clear()
        said = rate_limit_wait(headers)
        wait = None if said is None else min(said, MAX_PAUSE_SECONDS)
        pause = await self._limit.rate_limited(age=self._clock() - reservation.at, wait=wait)
        self._reserved.clear()
        return pause, said if said is not None and said > MAX_PAUSE_SECONDS else None

    async def _take_lease(self) -> None:
        """Reserves for those who wait, as many as may go within LEASE_SECONDS."""
        rate = self._requests_per_second()
        count = 1 if rate is None else max(1, int(rate * LEASE_SECONDS))
        estimates = list(islice(self._waiting, count))
        with_answer = not self._answers_are_free()
        tokens = [prompt + completion * with_answer for prompt, completion in estimates]
        lease = await self._tell(len(tokens), sum(tokens))
        first = self._clock() + lease.wait
        all_requests, all_tokens = lease.requests - len(tokens), lease.tokens - sum(tokens)
        for number, ((prompt, completion), of_this) in enumerate(zip(estimates, tokens, strict=True)):
            self._prompt_tokens.add(prompt)
            self._completion_tokens.add(completion)
            all_requests, all_tokens = all_requests + 1, all_tokens + of_this
            self._reserved.append(
                Reservation(first + number * lease.every, of_this, with_answer, all_requests, all_tokens)
            )

    async def _tell(self, requests: int, tokens: float) -> Lease:
        """Reserves, and tells what was learnt since the last time."""
        settled, self._settled = self._settled, 0.0
        answered, self._answered = self._answered, 0
        seen, self._seen = self._seen, None
        if seen is not None:
            seen = replace(seen, age=self._clock() - self._seen_sent_at)
        self._lease = await self._limit.reserve(
            requests, tokens, settled=settled, answered=answered, seen=seen
        )
        if self._sizes_itself:
            self._slots.resize(self._size_asked_for())
        return self._lease

    def _answers_are_free(self) -> bool:
        """Whether the provider was seen to count prompts only, as OpenAI does where no length is asked for.

        (platform.openai.com/docs/guides/rate-limits: the larger of max_completion_tokens and the prompt.)
        """
        if self._lease is None or self._lease.least_charge is None:
            return False
        prompt, completion = self._prompt_tokens.value, self._completion_tokens.value
        return prompt / 2 <= self._lease.least_charge < prompt + completion / 2

    def _requests_per_second(self) -> float | None:
        """Requests a second that both limits allow; None while neither is known."""
        if self._lease is None:
            return None
        rates = [self._lease.request_rate]
        if self._lease.token_rate is not None and self._tokens_a_request.value:
            rates.append(self._lease.token_rate / self._tokens_a_request.value)
        return min((rate for rate in rates if rate is not None), default=None)

    def _size_asked_for(self) -> int:
        rate = self._requests_per_second()
        if rate is None or self._lease is None:
            return UNKNOWN_IN_FLIGHT
        if self._latency.count < LATENCIES_BEFORE_BELIEF:  # a known limit alone keeps requests back
            return MAX_IN_FLIGHT if self._lease.limited else UNKNOWN_IN_FLIGHT
        # Little's law gives the mean number in flight; about it the number spreads as Poisson's does (M/G/∞),
        # so four standard deviations more hardly ever leave the limit unused.
        mean = rate * self._latency.value
        return min(MAX_IN_FLIGHT, max(MIN_IN_FLIGHT, math.ceil(mean + 4 * math.sqrt(mean))))

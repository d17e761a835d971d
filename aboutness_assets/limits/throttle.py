"""Keeps one kind of request (chat or embedding) within the provider's limits, together with all processes.

A request passes two gates: a slot, which bounds what this process has in flight, and a reservation of the
limits that all processes share. Reservations are taken in leases of a tenth of a second: one call to the
store then serves many requests, and the lease of a process that dies is over before anyone misses it.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice

from aboutness_assets.limits.headers import rate_limit_wait, read_quota
from aboutness_assets.limits.slots import UNKNOWN_IN_FLIGHT, RunningMean, Slots, slots_for
from aboutness_assets.limits.store import Lease, LimitStore, Observation, Pause, Place

LEASE_SECONDS = 0.1
"""How much of the limit one lease reserves at most: also how long requests may still be sent after another
process met a 429."""

LONG_WAIT_SECONDS = 0.2
"""During and after a longer wait the store is asked again when the turn comes: another process' 429 may have
paused all, or what slowed all down may be over."""

ASK_AGAIN_SECONDS = 5.0
"""How long a request waits at most until the store is asked again."""

MAX_PAUSE_SECONDS = 600.0
"""The longest pause that a 429 may ask for: a header that says days is a mistake or an attack."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that may be sent.

    at: seconds on the throttle's clock. tokens: reserved for it. counts_answer: whether they include the
    answer. all_requests, all_tokens: reserved by all processes up to and including it.
    """

    at: float
    tokens: float
    counts_answer: bool
    all_requests: float
    all_tokens: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the next request of a throttle waits for.

    seconds: until it may be sent, as far as is known now. paused: whether the pause after a 429 holds it
    back, rather than its turn within the limit. requests_per_minute: that may be sent now, by all processes.
    tokens_per_minute: the same of tokens, where they and not the requests set the pace; else None.
    """

    seconds: float
    paused: bool
    requests_per_minute: float
    tokens_per_minute: float | None


class Throttle:
    """Paces one kind of request: ``slot`` around a request with its retries, ``reserve`` before each sending.

    max_in_flight: slots; 0 = as many as limit × latency asks for. max_pause_seconds: the longest pause that a
    429 may ask for. waited: hears of each request how many seconds it waited for its turn, and whether the
    pause after a 429 held it back meanwhile. clock and sleep are in seconds.

    sizes_itself: whether it chooses the number of slots. stated_requests, stated_tokens: the limits per
    minute that the provider's headers stated last, None where they state none.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        max_in_flight: int = 0,
        max_pause_seconds: float = MAX_PAUSE_SECONDS,
        waited: Callable[[float, bool], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._max_pause_seconds = max_pause_seconds
        self._waited = waited
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()  # asyncio wakes its waiters in the order in which they came
        self._waiting: deque[tuple[float, float]] = deque()  # (prompt, completion) tokens of each
        self._reserved: deque[Reservation] = deque()
        self._lease: Lease | None = None
        self._paused_until = -math.inf
        self._tokens_per_request = RunningMean()
        self._prompt_tokens = RunningMean()
        self._completion_tokens = RunningMean()
        self._token_correction = 0.0
        self._is_stale = False
        self._observed_sent_at = -math.inf
        self._observation: Observation | None = None
        self.sizes_itself = max_in_flight == 0
        self.stated_requests: float | None = None
        self.stated_tokens: float | None = None
        self._slots = Slots(max_in_flight or UNKNOWN_IN_FLIGHT)
        self._latency = RunningMean()

    @property
    def max_in_flight(self) -> int:
        """How many requests may be in flight now."""
        return self._slots.size

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return self._slots.in_use

    @property
    def waiting_for_a_slot(self) -> int:
        """How many requests wait for a slot."""
        return self._slots.waiting

    @property
    def waiting_for_their_turn(self) -> int:
        """How many requests have a slot and wait until the limits let them be sent."""
        return len(self._waiting)

    @property
    def latency(self) -> float:
        """Seconds that an answer took lately, on average; 0 before the first."""
        return self._latency.value

    @property
    def waiting(self) -> Waiting | None:
        """What the next request waits for; None while it may be sent at once or nothing is asked for."""
        if not (self._waiting and self._reserved and self._lease):
            return None
        seconds = self._reserved[0].at - self._clock()
        if seconds <= 0:
            return None
        paused = self._paused_until > self._clock()
        requests, tokens = self._requests_per_second() or 0.0, self._lease.token_rate
        by_tokens = tokens is not None and requests < self._lease.request_rate
        return Waiting(seconds, paused, 60 * requests, 60 * tokens if by_tokens and tokens else None)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Holds one of the slots; waits, first come, first served, while none is free."""
        await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    async def reserve(self, prompt_tokens: float, completion_tokens: float = 0) -> Reservation:
        """Waits until a request of so many (estimated) tokens may be sent.

        Raises FatalError when the store stays unreachable.
        """
        began, was_paused = self._clock(), False
        estimate = (prompt_tokens, completion_tokens)
        self._waiting.append(estimate)
        try:
            async with self._turn:
                if not self._reserved:
                    await self._take_lease()
                while (wait := self._reserved[0].at - self._clock()) > 0 or self._is_stale:
                    was_paused |= self._paused_until > self._clock()
                    if wait > 0:
                        await self._sleep(min(wait, ASK_AGAIN_SECONDS))
                    if wait > LONG_WAIT_SECONDS or self._is_stale:
                        await self._ask_for_our_place()
                if self._waited is not None:
                    self._waited(self._clock() - began, was_paused)
                return self._reserved.popleft()
        finally:
            self._waiting.remove(estimate)

    def settle(self, reservation: Reservation, prompt_tokens: int, completion_tokens: int) -> None:
        """Corrects the tokens reserved to those that the provider counted."""
        used = prompt_tokens + completion_tokens * reservation.counts_answer
        self._tokens_per_request.add(used)
        self._token_correction += used - reservation.tokens

    def observe(self, headers: Mapping[str, str], reservation: Reservation) -> None:
        """Learns limits and latency from the answer to a request."""
        self._latency.add(self._clock() - reservation.at)
        self._take_note(headers, reservation)
        self._resize_slots()

    async def rate_limited(
        self, headers: Mapping[str, str], reservation: Reservation
    ) -> tuple[Pause, float | None]:
        """Pauses every request of this kind in all processes, for as long as the headers of a 429 say.

        Returns the pause, and the seconds that the server asked for where max_pause_seconds cut them, else
        None. Raises FatalError when the store stays unreachable.
        """
        self._is_stale = True
        self._take_note(headers, reservation)
        asked = rate_limit_wait(headers)
        wait = None if asked is None else min(asked, self._max_pause_seconds)
        pause = await self._store.rate_limited(
            age=self._clock() - reservation.at, requests=reservation.all_requests, wait=wait
        )
        self._is_stale = True
        self._paused_until = self._clock() + pause.seconds
        return pause, asked if asked != wait else None

    async def report(self) -> None:
        """Tells the store what the latest answers said: after a run's last ones nothing is reserved.

        Raises FatalError when the store stays unreachable.
        """
        if self._observation is not None or self._token_correction:
            await self._ask_store(0, 0)

    async def _take_lease(self) -> None:
        """Reserves for those who wait, as many as may be sent within LEASE_SECONDS."""
        rate = self._requests_per_second()
        count = 1 if rate is None else max(1, int(rate * LEASE_SECONDS))
        estimates = list(islice(self._waiting, count))
        counts_answers = not self._only_prompts_count()
        tokens = [prompt + completion * counts_answers for prompt, completion in estimates]
        lease = await self._ask_store(len(tokens), sum(tokens))
        first = self._clock() + lease.wait
        all_requests, all_tokens = lease.requests - len(tokens), lease.tokens - sum(tokens)
        for number, ((prompt, completion), of_this) in enumerate(zip(estimates, tokens, strict=True)):
            self._prompt_tokens.add(prompt)
            self._completion_tokens.add(completion)
            all_requests, all_tokens = all_requests + 1, all_tokens + of_this
            at = first + number * lease.interval
            self._reserved.append(Reservation(at, of_this, counts_answers, all_requests, all_tokens))

    async def _ask_for_our_place(self) -> None:
        """Learns when what is reserved may be sent, at the rates of now."""
        self._is_stale = False
        first = self._reserved[0]
        place = Place(first.all_requests - 1, first.all_tokens - first.tokens)
        lease = await self._ask_store(len(self._reserved), sum(each.tokens for each in self._reserved), place)
        at = self._clock() + lease.wait
        self._reserved = deque(
            replace(each, at=at + number * lease.interval) for number, each in enumerate(self._reserved)
        )

    async def _ask_store(self, requests: int, tokens: float, place: Place | None = None) -> Lease:
        """Reserves, or asks for a place in line, and reports what was learnt since the last call."""
        correction, self._token_correction = self._token_correction, 0.0
        observation, self._observation = self._observation, None
        if observation is not None:
            observation = replace(observation, age=self._clock() - self._observed_sent_at)
        self._lease = await self._store.reserve(
            requests, tokens, place=place, token_correction=correction, observation=observation
        )
        self._paused_until = self._clock() + self._lease.pause
        self._resize_slots()
        return self._lease

    def _take_note(self, headers: Mapping[str, str], reservation: Reservation) -> None:
        """Keeps what the reply to the latest request says about the limits, for the next call."""
        if reservation.at > self._observed_sent_at:
            self._observed_sent_at = reservation.at
            requests, tokens = read_quota(headers, "requests"), read_quota(headers, "tokens")
            self._observation = Observation(
                0.0, reservation.all_requests, reservation.all_tokens, requests, tokens
            )
            self.stated_requests, self.stated_tokens = requests.per_minute, tokens.per_minute

    def _only_prompts_count(self) -> bool:
        """Whether the provider was seen to count no answers, as OpenAI does where no length is asked for.

        (platform.openai.com/docs/guides/rate-limits: the larger of max_completion_tokens and the prompt.)
        """
        if self._lease is None or self._lease.min_tokens_per_request is None:
            return False
        prompt, completion = self._prompt_tokens.value, self._completion_tokens.value
        return prompt / 2 <= self._lease.min_tokens_per_request < prompt + completion / 2

    def _requests_per_second(self) -> float | None:
        """Requests per second that both limits allow; None before the store was asked."""
        if self._lease is None:
            return None
        if self._lease.token_rate is None or not self._tokens_per_request.value:
            return self._lease.request_rate
        return min(self._lease.request_rate, self._lease.token_rate / self._tokens_per_request.value)

    def _resize_slots(self) -> None:
        if self.sizes_itself:
            limit_known = self._lease is not None and self._lease.limit_known
            rate = self._requests_per_second()
            self._slots.resize(slots_for(rate, self._latency, limit_known=limit_known))

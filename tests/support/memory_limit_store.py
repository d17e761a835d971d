"""A LimitStore in the memory of one process, for tests without Postgres.

The same arithmetic as the SQL functions of database/operations/migrations; the conformance suite runs over
both. Several throttles that share one MemoryLimitStore are several processes that share a key.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aboutness_assets.limits.headers import Quota
from aboutness_assets.limits.store import Lease, Observation, Pause

BURST_SECONDS = 1.0
UNKNOWN_RATE = 4.0
FIRST_RATE = 128.0
FORGET_AFTER_SECONDS = 600.0
MIN_ANSWERS = 10


@dataclass
class _Known:
    """What is known about one limit, from headers."""

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    max_remaining: float | None = None

    def observe(self, quota: Quota) -> None:
        if quota.limit != self.limit:
            self.max_remaining = None
        self.limit, self.remaining, self.reset = quota.limit, quota.remaining, quota.reset
        self.max_remaining = _largest(self.max_remaining, quota.remaining)

    def throttle_factor(self, trusted: bool, used_since: float, age: float) -> float:
        if not trusted or not self.limit or self.remaining is None or self.max_remaining is None:
            return 1.0
        if self.reset is not None and self.remaining >= self.limit / 60 * self.reset:
            return 1.0
        left = self.remaining - used_since + age * self.limit / 60
        return max(0.05, min(1.0, left / max(1e-9, min(self.limit / 15, self.max_remaining / 2))))


@dataclass
class _State:
    """A row of aboutness_ops.rate_limit."""

    reserved_at: float
    request_tat: float
    token_tat: float
    last_exhausted_at: float
    requests_reserved: float = 0.0
    tokens_reserved: float = 0.0
    minute: float = 0.0
    minute_requests: float = 0.0
    previous_minute_requests: float = 0.0
    observed_at: float = -math.inf
    observed_requests: float = 0.0
    observed_tokens: float = 0.0
    requests: _Known = field(default_factory=_Known)
    tokens: _Known = field(default_factory=_Known)
    min_tokens_per_request: float | None = None
    sampled_at: float = 0.0
    sampled_requests: float | None = None
    sampled_remaining: float | None = None
    is_bucket: bool = False
    slow_start: bool = True
    base_rate: float = FIRST_RATE
    growth_seconds: float = 0.0
    consecutive_429s: int = 0
    paused_at: float = -math.inf
    paused_until: float = -math.inf
    answered_since_exhausted: float = 0.0


class MemoryLimitStore:
    """See LimitStore; clock is in seconds."""

    def __init__(
        self,
        *,
        requests_per_minute: float = 0,
        tokens_per_minute: float = 0,
        waits: Sequence[float] = (15.0, 30.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests_per_minute = requests_per_minute or None
        self._tokens_per_minute = tokens_per_minute or None
        self._waits = list(waits) or [0.0]
        self._clock = clock
        self._state: _State | None = None

    async def reserve(
        self,
        requests: int,
        tokens: float,
        *,
        token_correction: float = 0.0,
        answered: int = 0,
        observation: Observation | None = None,
    ) -> Lease:
        """See LimitStore."""
        now = self._clock()
        state = self._state_at(now)
        self._forget_if_idle(state, now)
        self._roll_minute(state, now)
        recent = state.minute_requests + state.previous_minute_requests * (1 - (now / 60 - state.minute))
        if observation is not None:
            self._observe(state, now, recent, observation)
        if state.request_tat - now > BURST_SECONDS / 2 and now > state.paused_until:
            state.growth_seconds += min(1.0, max(0.0, now - state.reserved_at))

        rpm = _smallest(self._requests_per_minute, state.requests.limit)
        tpm = _smallest(self._tokens_per_minute, state.tokens.limit)
        trusted = self._remaining_is_trusted(state, recent)
        request_rate = self._request_rate(state, now, rpm, tpm, trusted)
        token_rate = None
        if tpm is not None:
            token_rate = (tpm / 60) * state.tokens.throttle_factor(
                trusted, state.tokens_reserved - state.observed_tokens, now - state.observed_at
            )

        state.answered_since_exhausted += answered
        state.tokens_reserved += token_correction
        if token_rate is not None:
            state.token_tat += token_correction / token_rate
        pause = max(0.0, state.paused_until - now)
        wait = max(pause, state.request_tat - BURST_SECONDS - now, state.token_tat - BURST_SECONDS - now)
        interval = 1 / request_rate
        if requests and token_rate is not None:
            interval = max(interval, tokens / requests / token_rate)
        if requests:
            state.request_tat = max(state.request_tat, now + wait) + requests / request_rate
            state.token_tat = max(state.token_tat, now + wait) + (tokens / token_rate if token_rate else 0.0)
            state.requests_reserved += requests
            state.tokens_reserved += tokens
            state.minute_requests += requests
            state.reserved_at = now
        return Lease(
            wait=wait,
            interval=interval,
            pause=pause,
            limit_known=rpm is not None or tpm is not None,
            request_rate=request_rate,
            token_rate=token_rate,
            requests=state.requests_reserved,
            tokens=state.tokens_reserved,
            min_tokens_per_request=state.min_tokens_per_request,
        )

    async def rate_limited(self, *, age: float, wait: float | None) -> Pause:
        """See LimitStore."""
        now = self._clock()
        state = self._state_at(now)
        until_before = max(now, state.paused_until)
        begins = now - age > state.paused_at
        if begins:
            state.consecutive_429s += 1
            named = self._waits[min(state.consecutive_429s, len(self._waits)) - 1] if wait is None else wait
            wait = max(named, min(2 ** min(state.consecutive_429s, 20) / 1000, self._waits[-1]))
            self._decrease_rate(state, now)
            state.paused_at = now
        state.paused_until = max(until_before, now + (wait or 0.0))
        state.request_tat = max(state.request_tat, state.paused_until + BURST_SECONDS)
        state.token_tat = max(state.token_tat, state.paused_until + BURST_SECONDS)
        return Pause(state.paused_until - now, state.paused_until - until_before, begins)

    def _state_at(self, now: float) -> _State:
        if self._state is None:
            self._state = _State(now, now, now, now)
        return self._state

    @staticmethod
    def _forget_if_idle(state: _State, now: float) -> None:
        if state.reserved_at < now - FORGET_AFTER_SECONDS:
            state.slow_start, state.base_rate, state.growth_seconds = True, FIRST_RATE, 0.0
            state.consecutive_429s, state.last_exhausted_at, state.answered_since_exhausted = 0, now, 0.0
            state.requests.remaining = state.tokens.remaining = None

    @staticmethod
    def _roll_minute(state: _State, now: float) -> None:
        minute = math.floor(now / 60)
        if minute > state.minute:
            state.previous_minute_requests = state.minute_requests if minute == state.minute + 1 else 0.0
            state.minute, state.minute_requests = minute, 0.0

    @staticmethod
    def _observe(state: _State, now: float, recent: float, observation: Observation) -> None:
        sent_at = now - observation.age
        if sent_at > state.paused_at:
            state.consecutive_429s = 0
        if sent_at <= state.observed_at:
            return
        state.observed_at = sent_at
        state.observed_requests, state.observed_tokens = observation.requests, observation.tokens
        quota = observation.request_quota
        if quota.limit:
            state.requests.observe(quota)
            if quota.remaining is not None and quota.remaining + recent > 1.15 * quota.limit:
                state.is_bucket = True
        if observation.token_quota.limit:
            if observation.token_quota.limit != state.tokens.limit:
                state.min_tokens_per_request = state.sampled_requests = None
            state.tokens.observe(observation.token_quota)
            MemoryLimitStore._sample_tokens(state, observation)

    @staticmethod
    def _sample_tokens(state: _State, observation: Observation) -> None:
        limit, remaining = observation.token_quota.limit or 0.0, observation.token_quota.remaining
        if remaining is not None and limit != remaining:
            state.min_tokens_per_request = _smallest(state.min_tokens_per_request, limit - remaining)
        sampled = state.sampled_requests
        if sampled is not None and observation.requests < sampled + 20:
            return
        if (
            sampled is not None
            and remaining is not None
            and state.sampled_remaining is not None
            and remaining < 0.9 * limit
        ):
            refilled = (state.observed_at - state.sampled_at) * limit / 60
            used = state.sampled_remaining - remaining + refilled
            state.min_tokens_per_request = _smallest(
                state.min_tokens_per_request, used / (observation.requests - sampled)
            )
        state.sampled_at, state.sampled_requests = state.observed_at, observation.requests
        state.sampled_remaining = remaining

    @staticmethod
    def _remaining_is_trusted(state: _State, recent: float) -> bool:
        if state.is_bucket or state.requests.limit is None:
            return True
        remaining = state.requests.remaining
        return remaining is not None and remaining + recent < 0.85 * state.requests.limit

    @staticmethod
    def _request_rate(
        state: _State, now: float, rpm: float | None, tpm: float | None, trusted: bool
    ) -> float:
        if rpm is None and tpm is None and state.observed_at == -math.inf:
            return UNKNOWN_RATE
        rate = math.inf
        if rpm is not None:
            rate = (rpm / 60) * state.requests.throttle_factor(
                trusted, state.requests_reserved - state.observed_requests, now - state.observed_at
            )
        if rpm is None or not state.slow_start:
            rate = min(rate, _probing_rate(state, rpm))
        return rate

    def _decrease_rate(self, state: _State, now: float) -> None:
        rpm = _smallest(self._requests_per_minute, state.requests.limit)
        if state.slow_start:
            state.base_rate = _probing_rate(state, rpm) / 2 if rpm is None else 0.95 * rpm / 60
        elif state.answered_since_exhausted >= MIN_ANSWERS:
            measured = 0.95 * state.answered_since_exhausted / max(now - state.last_exhausted_at, 0.1)
            lowest, highest = (0.0, math.inf) if rpm is None else (rpm / 60 / 4, rpm / 60)
            state.base_rate = max(0.05, lowest, min(highest, measured, _probing_rate(state, rpm)))
        else:
            return
        state.slow_start, state.growth_seconds = False, 0.0
        state.last_exhausted_at, state.answered_since_exhausted = now, 0.0


def _probing_rate(state: _State, rpm: float | None) -> float:
    if state.slow_start:
        return min(1e6, state.base_rate * 2 ** min(state.growth_seconds, 60))
    return min(1e6, state.base_rate * (1 + (state.growth_seconds / (60 if rpm is None else 20)) ** 2))


def _smallest(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _largest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)

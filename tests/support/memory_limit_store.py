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
from aboutness_assets.limits.store import Lease, Observation, Pause, Place

BURST_SECONDS = 1.0
UNKNOWN_RATE = 4.0
FIRST_RATE = 128.0
FORGET_AFTER_SECONDS = 600.0
WINDOW_SECONDS = 60.0
MIN_REQUESTS = 10
MARGIN = 0.985


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

    def others_use_it(self, recent: float, slack: float) -> bool:
        if self.limit is None or self.remaining is None:
            return False
        return self.remaining + recent + slack < 0.85 * self.limit

    def throttle_factor(self, trusted: bool, used_since: float, age: float) -> float:
        if not trusted or not self.limit or self.remaining is None or self.max_remaining is None:
            return 1.0
        if self.reset is not None and self.remaining >= self.limit / 60 * self.reset:
            return 1.0
        left = self.remaining - used_since + age * self.limit / 60
        return max(0.05, min(1.0, left / max(1e-9, min(self.limit / 15, self.max_remaining / 2))))


@dataclass
class _Line:
    """Until when what was reserved of one limit uses it up, at a rate in units per second."""

    tat: float
    rate: float | None = None

    def reprice(self, start: float, rate: float | None) -> None:
        """What waits beyond the burst takes as long as it does at the rate of now."""
        waits = self.tat - start - BURST_SECONDS
        if rate and self.rate and waits > 0:
            self.tat += waits * (self.rate / rate - 1)
        self.rate = rate

    def wait(self, now: float, behind: float) -> float:
        """Seconds until what comes before the last ``behind`` units may go; 0 or less: now."""
        return self.tat - behind / self.rate - BURST_SECONDS - now if self.rate else 0.0

    def add(self, now: float, amount: float) -> None:
        if self.rate:
            self.tat = max(self.tat, now) + amount / self.rate

    def postpone(self, until_before: float, until: float, sent: float) -> None:
        """During a pause nothing goes, and what was not used during it is not made up for.

        sent: units of what was sent last; what follows it need not wait for these after the pause.
        """
        waits = self.tat - until_before - BURST_SECONDS - (sent / self.rate if self.rate else 0.0)
        self.tat = until + BURST_SECONDS + max(0.0, waits)


@dataclass
class _State:
    """A row of aboutness_ops.rate_limit."""

    reserved_at: float
    requests_line: _Line
    tokens_line: _Line
    exhausted_at: float
    sent: list[tuple[float, float, float]]
    exhausted_requests: float = 0.0
    requests_reserved: float = 0.0
    tokens_reserved: float = 0.0
    refused: float = 0.0
    refused_at: float = -math.inf
    refused_before: float = 0.0
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
    hold_seconds: float = 0.0
    lowest_minute: float = math.inf
    is_window: bool = False
    steady_rate: float = math.inf
    baseline_at: float = -math.inf
    baseline_requests: float = 0.0
    consecutive_429s: int = 0
    paused_at: float = -math.inf
    paused_until: float = -math.inf

    def recent(self, at: float, now: float, column: int) -> float:
        """Requests (1) or tokens (2) of the minute that ended at ``at``, of which now so many were sent."""
        before = at - WINDOW_SECONDS
        earlier = [entry for entry in self.sent if entry[0] <= before]
        later = [entry for entry in self.sent if entry[0] > before]
        if not earlier:
            return now - self.sent[0][column]
        if not later:
            return now - earlier[-1][column]
        first, second = earlier[-1], later[0]
        if second[0] - first[0] > 2:  # after a pause: they were sent at its end
            return now - first[column]
        share = (before - first[0]) / (second[0] - first[0])
        return math.ceil(now - (first[column] + share * (second[column] - first[column])) - 1e-6)


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
        place: Place | None = None,
        token_correction: float = 0.0,
        observation: Observation | None = None,
    ) -> Lease:
        """See LimitStore."""
        now = self._clock()
        state = self._state_at(now)
        self._forget_if_idle(state, now)
        if observation is not None:
            self._observe(state, now, observation)
        if state.requests_line.tat - now > BURST_SECONDS / 2 and now > state.paused_until:
            state.growth_seconds += min(5.0, max(0.0, now - max(state.reserved_at, state.paused_until)))

        rpm = _smallest(self._requests_per_minute, state.requests.limit)
        tpm = _smallest(self._tokens_per_minute, state.tokens.limit)
        request_rate = self._request_rate(state, now, rpm, tpm)
        token_rate = self._token_rate(state, now, tpm)
        start = max(now, state.paused_until)
        state.requests_line.reprice(start, request_rate)
        state.tokens_line.reprice(start, token_rate)
        state.tokens_reserved += token_correction
        state.tokens_line.add(-math.inf, token_correction)

        pause = max(0.0, state.paused_until - now)
        ahead = place or Place(state.requests_reserved, state.tokens_reserved)
        wait = max(
            pause,
            state.requests_line.wait(now, state.requests_reserved - ahead.requests),
            state.tokens_line.wait(now, state.tokens_reserved - ahead.tokens),
        )
        interval = 1 / request_rate
        if requests and token_rate is not None:
            interval = max(interval, tokens / requests / token_rate)
        if requests:
            state.reserved_at = now
        if requests and place is None:
            state.requests_line.add(now, requests)
            state.tokens_line.add(now, tokens)
            state.requests_reserved += requests
            state.tokens_reserved += tokens
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

    async def rate_limited(self, *, age: float, requests: float, wait: float | None) -> Pause:
        """See LimitStore."""
        now = self._clock()
        state = self._state_at(now)
        until_before = max(now, state.paused_until)
        asked = wait or 0.0
        begins = now - age > state.paused_at and now - age >= state.paused_until
        # A request with an earlier place than the one whose 429 came first had not been let pass.
        let_pass = requests - state.refused if begins else requests - 1 - state.refused_before
        if let_pass <= state.baseline_requests:
            state.baseline_requests -= 1
        if let_pass <= state.exhausted_requests:
            state.exhausted_requests -= 1
        if begins:
            state.consecutive_429s += 1
            named = self._waits[min(state.consecutive_429s, len(self._waits)) - 1] if wait is None else wait
            wait = max(named, min(2 ** min(state.consecutive_429s, 20) / 1000, self._waits[-1]))
            sent = max(requests - 1 - state.refused, state.exhausted_requests, state.sent[-1][1])
            self._decrease_rate(state, now - age, sent, asked)
            state.paused_at, state.refused_at, state.refused_before = now, now - age, state.refused
        state.refused += 1
        state.sent = [
            (at, max(total - 1, min(total, state.exhausted_requests)), used)
            if at >= now - age - 1e-3
            else (at, total, used)
            for at, total, used in state.sent
        ]
        state.paused_until = max(until_before, now + (wait or 0.0))
        followed = until_before == now and not state.is_window  # a sliding minute may still be full
        state.requests_line.postpone(until_before, state.paused_until, sent=float(followed))
        state.tokens_line.postpone(until_before, state.paused_until, sent=0.0)
        return Pause(state.paused_until - now, state.paused_until - until_before, begins)

    def _state_at(self, now: float) -> _State:
        if self._state is None:
            self._state = _State(now, _Line(now), _Line(now), now, [(now, 0.0, 0.0)])
        return self._state

    @staticmethod
    def _forget_if_idle(state: _State, now: float) -> None:
        if state.reserved_at < now - FORGET_AFTER_SECONDS:
            state.slow_start, state.base_rate = True, FIRST_RATE
            state.growth_seconds, state.hold_seconds, state.is_window = 0.0, 0.0, False
            state.consecutive_429s = 0
            state.exhausted_at, state.exhausted_requests = now, state.requests_reserved - state.refused
            state.requests.remaining = state.tokens.remaining = None

    @staticmethod
    def _observe(state: _State, now: float, observation: Observation) -> None:
        sent_at = now - observation.age
        if sent_at > state.paused_at:
            state.consecutive_429s = 0
        if sent_at <= state.observed_at:
            return
        state.observed_at = sent_at
        state.observed_requests, state.observed_tokens = observation.requests, observation.tokens
        MemoryLimitStore._remember(state, sent_at, observation)
        if observation.request_quota.limit:
            state.requests.observe(_per_minute(observation.request_quota))
        if observation.token_quota.limit:
            quota = _per_minute(observation.token_quota)
            if quota.limit != state.tokens.limit:
                state.min_tokens_per_request = state.sampled_requests = None
            state.tokens.observe(quota)
            if quota.limit:
                MemoryLimitStore._sample_tokens(state, observation)
        # At most what we did not use remains of a sliding minute; what is almost a minute old may be gone.
        known, column, slack = (state.requests, 1, 3.0) if state.requests.limit else (state.tokens, 2, 0.0)
        if known.limit and known.remaining is not None:
            recent = state.recent(sent_at + 1, state.sent[-1][column], column)
            if known.remaining + recent > 1.15 * known.limit + slack:
                state.is_bucket = True

    @staticmethod
    def _remember(state: _State, sent_at: float, observation: Observation) -> None:
        let_pass = observation.requests - state.refused_before
        if sent_at >= state.refused_at - 1e-3:
            let_pass = max(observation.requests - state.refused, state.exhausted_requests)
        entry = (sent_at, let_pass, observation.tokens)
        if len(state.sent) > 1 and sent_at < state.sent[-2][0] + 1:
            state.sent[-1] = entry
        else:
            state.sent.append(entry)
        while len(state.sent) > 1 and state.sent[1][0] <= sent_at - WINDOW_SECONDS:
            state.sent.pop(0)

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
    def _trusted(state: _State, known: _Known, column: int, slack: float) -> bool:
        latest = state.sent[-1]
        return state.is_bucket or known.others_use_it(state.recent(latest[0], latest[column], column), slack)

    @staticmethod
    def _request_rate(state: _State, now: float, rpm: float | None, tpm: float | None) -> float:
        probing = _probing_rate(state, rpm)
        if rpm is None and tpm is None and state.observed_at == -math.inf:
            return UNKNOWN_RATE if state.slow_start else min(UNKNOWN_RATE, probing)
        rate = math.inf
        if rpm is not None:
            stated = state.requests.limit
            if stated is not None and not state.is_bucket:
                rpm = min(rpm, MARGIN * stated)
            rate = (rpm / 60) * state.requests.throttle_factor(
                MemoryLimitStore._trusted(state, state.requests, 1, 1.0),
                state.requests_reserved - state.observed_requests,
                now - state.observed_at,
            )
        if rpm is None or not state.slow_start:
            rate = min(rate, probing)
        return rate

    @staticmethod
    def _token_rate(state: _State, now: float, tpm: float | None) -> float | None:
        if tpm is None:
            return None
        stated = state.tokens.limit
        if stated is not None and not state.is_bucket:
            tpm = min(tpm, MARGIN * stated)
        return (tpm / 60) * state.tokens.throttle_factor(
            MemoryLimitStore._trusted(state, state.tokens, 2, 0.0),
            state.tokens_reserved - state.observed_tokens,
            now - state.observed_at,
        )

    def _decrease_rate(self, state: _State, at: float, sent: float, asked: float) -> None:
        """at: when the request was sent that met the 429; sent: requests that were let pass until then.

        asked: seconds that the 429 names, else 0.
        """
        if not state.slow_start and at < state.exhausted_at + 0.5:
            return  # sent before others knew
        rpm = _smallest(self._requests_per_minute, state.requests.limit)
        since, seconds = sent - state.exhausted_requests, max(0.1, at - state.exhausted_at)
        in_minute = state.recent(at, sent, 1)
        if rpm is None and in_minute <= 0:
            return  # nothing was let pass, so nothing is measured
        if state.slow_start:
            state.lowest_minute = in_minute
            state.base_rate = 0.95 * rpm / 60 if rpm else min(_probing_rate(state, rpm) / 2, since / seconds)
            state.base_rate = max(1 / 60, state.base_rate)
            state.baseline_at, state.baseline_requests = at, sent
        elif rpm is not None:
            if since < MIN_REQUESTS:
                return
            state.base_rate = max(
                rpm / 60 / 4, min(rpm / 60, 0.95 * since / seconds, _probing_rate(state, rpm))
            )
        else:
            self._measure(state, in_minute, since, seconds, at=at, sent=sent, asked=asked)
        if state.slow_start or rpm is not None or since:
            state.exhausted_at, state.exhausted_requests = at, sent
        state.slow_start, state.growth_seconds = False, 0.0

    @staticmethod
    def _measure(
        state: _State, in_minute: float, since: float, seconds: float, *, at: float, sent: float, asked: float
    ) -> None:
        """Sets the rate to what was let pass.

        in_minute: in the minute that ended with the 429. since: in the seconds since the limit was used up
        before. at, sent: see _decrease_rate. asked: seconds that the 429 names, else 0.
        """
        probing = _probing_rate(state, None)
        grew = state.growth_seconds >= state.hold_seconds > 0
        if grew and in_minute > 90 * state.steady_rate + 3 and state.base_rate == state.steady_rate:
            # A bucket had filled up, or the limit is another one: the next 429 tells.
            state.lowest_minute, state.is_window = in_minute, False
            state.baseline_at, state.baseline_requests = at, sent
            state.base_rate = min(probing, max(2 * state.steady_rate, 0.7 * probing))
            return
        state.lowest_minute = min(state.lowest_minute, in_minute)
        # A bucket would have more than two requests sooner, and a sliding minute lets little pass until what
        # was sent at once is a minute old. It never lets more pass than in a minute at whose end it refused.
        expected = in_minute * seconds / 60
        state.is_window = (
            state.is_window
            or asked * in_minute / 60 >= 2
            or (2 <= expected <= in_minute and since <= 0.1 * expected)
        ) and in_minute <= 1.08 * state.lowest_minute + 0.9
        # A bucket was empty at each 429: what it let pass in between is what refilled, give or take one.
        total, total_seconds = sent - state.baseline_requests, at - state.baseline_at
        rates = (since - 1) / seconds, (since + 1) / seconds
        if not rates[0] * total_seconds - 1 <= total <= rates[1] * total_seconds + 1:
            state.baseline_at, state.baseline_requests = state.exhausted_at, state.exhausted_requests
            total, total_seconds = since, seconds
        exact = state.is_window and (not since or since >= in_minute / 2)
        if state.is_window:
            rate = (state.lowest_minute if in_minute <= state.lowest_minute + 1 else in_minute) / 60
        elif total >= 3 and total_seconds > 2 * (state.paused_until - state.paused_at):
            rate = min((in_minute + 1) / 60, _whole_per_minute(total, total_seconds))
        else:  # a small bucket is empty as soon as the rate is too high
            rate = min(0.7 * probing, math.inf if state.hold_seconds else in_minute / 60)
        if grew and not state.is_window and state.hold_seconds >= 300:
            rate = max(rate, state.base_rate)  # held without a 429 for longer than what was saved lasts
        rate = max(1 / 60, rate)
        # The fewer requests it was measured by, the sooner it is measured again.
        requests = in_minute if exact else since if state.is_window else total
        confirmed = state.hold_seconds > 0 and 0.75 < rate / state.steady_rate < 1.35
        longest = max(1800.0, 300 / rate)
        if requests < 30 and not confirmed:
            state.hold_seconds = 30.0
        elif exact:
            state.hold_seconds = longest
        elif not state.is_window:
            state.hold_seconds = min(longest, max(300.0, 120 / rate, 10 * requests / rate))
        state.base_rate = state.steady_rate = rate


def _whole_per_minute(requests: float, seconds: float) -> float:
    """Requests per second: the whole number per minute that is meant, if one is near enough."""
    measured = 60 * requests / seconds
    whole = round(measured)
    return (whole if whole > 0 and abs(whole - measured) * seconds < 60 else measured) / 60


def _per_minute(quota: Quota) -> Quota:
    """Nothing where the limit is not one of a minute: those reset within one."""
    return Quota(None, None, None) if quota.reset is not None and quota.reset > 90 else quota


def _probing_rate(state: _State, rpm: float | None) -> float:
    if state.slow_start:
        return min(1e6, state.base_rate * 2 ** min(state.growth_seconds, 60))
    if rpm is not None:
        return min(1e6, state.base_rate * (1 + (state.growth_seconds / 20) ** 2))
    grown = max(0.0, state.growth_seconds - state.hold_seconds)
    margin = MARGIN if state.hold_seconds else 1
    return min(1e6, margin * state.base_rate * 2 ** min(60, (grown / 40) ** 2))


def _smallest(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _largest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)

"""The one model of a provider's rate limits: requests and tokens per minute, by either common algorithm.

Belongs here: what is let through, and what the headers of the reply then say. Does not belong here: HTTP and
waiting. The stand-in endpoint, the tests in virtual time and the benchmarks' endpoint share it; each gives it
a clock.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

WINDOW_SECONDS = 60.0

NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Limits(BaseModel):
    """The limits of one route and how the provider enforces them; the default limits nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: NotNegative = 0
    """0: no limit."""
    tokens_per_minute: NotNegative = 0
    """0: no limit."""
    algorithm: Literal["bucket", "window"] = "bucket"
    """A token bucket that refills evenly, or a sliding window of one minute."""
    burst_seconds: NotNegative = 60
    """Of the limit, what a full bucket holds; a window ignores it."""
    starts_at: Share = 1
    """How full the bucket is at first; a window starts unused."""
    counts: Literal["prompt", "usage"] = "prompt"
    """Which tokens of a request count: see count_tokens."""
    headers: bool = True
    """Whether every reply carries x-ratelimit-* headers."""
    retry_after: bool = True
    """Whether a 429 says when to try again."""
    other_users_share: Share = 0
    """The share of the limits that others with the same key use up steadily."""

    def count_tokens(self, *, prompt: int, answer_limit: int = 0, completion: int = 0) -> int:
        """The tokens that count against tokens_per_minute.

        "prompt": the larger of the prompt and the most that the answer may have (answer_limit; 0 = not sent),
        as OpenAI documents it (platform.openai.com/docs/guides/rate-limits). "usage": prompt and completion.
        """
        return prompt + completion if self.counts == "usage" else max(prompt, answer_limit)


class Decision(NamedTuple):
    """Whether a request is let through, and what the reply says about the limits."""

    wait_seconds: float
    """0: it is let through. Otherwise nothing was taken, and after this long there will be enough."""
    headers: dict[str, str]
    message: str
    """Of the 429; empty when the request is let through."""
    exhausted: str
    """Of the 429: ``requests`` or ``tokens``."""

    @property
    def admitted(self) -> bool:
        """Whether the request is let through."""
        return self.wait_seconds == 0


class RateLimiter:
    """Enforces the limits of one route; a request must pass that of requests and that of tokens.

    clock: seconds from any origin.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._counters = _counters(limits, clock())

    def change(self, limits: Limits) -> None:
        """Enforce other limits from now on; what has been used stays used, in proportion."""
        now, before = self._clock(), self._counters
        self.limits, self._counters = limits, _counters(limits, now)
        for name in self._counters.keys() & before.keys():
            self._counters[name].inherit(before[name], now)

    def admit(self, tokens: int) -> Decision:
        """Take one request and its tokens where both limits allow it, and nothing otherwise.

        A request larger than a limit ever allows at once passes when nothing is used.
        """
        now = self._clock()
        amounts = {"requests": 1, "tokens": tokens}
        wait, exhausted = 0.0, ""
        for name, counter in self._counters.items():
            if (seconds := counter.wait(amounts[name], now)) > wait:
                wait, exhausted = seconds, name
        if not wait:
            for name, counter in self._counters.items():
                counter.take(amounts[name], now)
        headers = self._headers(now) if self.limits.headers else {}
        message = ""
        if wait:
            message = (
                f"Rate limit reached on {exhausted} per min: "
                f"Limit {self._counters[exhausted].per_minute:g}, Requested {amounts[exhausted]}."
            )
            if self.limits.retry_after:
                message += f" Please try again in {duration(wait)}."
                headers["retry-after-ms"] = str(math.ceil(wait * 1000))
                headers["retry-after"] = str(math.ceil(wait))
        return Decision(wait, headers, message, exhausted)

    def remaining(self) -> dict[str, float]:
        """What may be taken at once, of requests and of tokens, where there is a limit."""
        now = self._clock()
        return {name: counter.remaining(now) for name, counter in self._counters.items()}

    def _headers(self, now: float) -> dict[str, str]:
        headers = {}
        for name, counter in self._counters.items():
            headers[f"x-ratelimit-limit-{name}"] = str(int(counter.per_minute))
            headers[f"x-ratelimit-remaining-{name}"] = str(max(0, int(counter.remaining(now))))
            headers[f"x-ratelimit-reset-{name}"] = duration(counter.reset(now))
        return headers


class _Counter(ABC):
    """How much of one limit is used. Amounts are requests or tokens; ``now`` is in seconds."""

    per_minute: float
    capacity: float
    """What may be taken at once when nothing is used."""

    @abstractmethod
    def remaining(self, now: float) -> float:
        """What may be taken at once; below 0 after a request that was larger than the capacity."""

    @abstractmethod
    def wait(self, amount: float, now: float) -> float:
        """Seconds until the amount may be taken, as far as the provider can tell."""

    @abstractmethod
    def take(self, amount: float, now: float) -> None:
        """Take an amount for which ``wait`` is 0."""

    @abstractmethod
    def reset(self, now: float) -> float:
        """Seconds until nothing is used, as far as the provider can tell."""

    @abstractmethod
    def inherit(self, before: _Counter, now: float) -> None:
        """Be used as much, in proportion, as another counter."""


class _Bucket(_Counter):
    def __init__(self, per_minute: float, limits: Limits, now: float) -> None:
        self.per_minute = per_minute
        self.capacity = max(1.0, per_minute / 60 * limits.burst_seconds)
        self._level = self.capacity * limits.starts_at
        self._rate = per_minute / 60
        self._own_rate = self._rate * (1 - limits.other_users_share)
        self._refilled_at = now

    def remaining(self, now: float) -> float:
        self._level = min(self.capacity, self._level + (now - self._refilled_at) * self._own_rate)
        self._refilled_at = now
        return self._level

    # A provider cannot foresee what others will use: the times it names assume the whole rate.

    def wait(self, amount: float, now: float) -> float:
        return max(0.0, min(amount, self.capacity) - self.remaining(now)) / self._rate

    def take(self, amount: float, now: float) -> None:
        self._level -= amount

    def reset(self, now: float) -> float:
        return (self.capacity - self.remaining(now)) / self._rate

    def inherit(self, before: _Counter, now: float) -> None:
        self._level = self.capacity * before.remaining(now) / before.capacity


class _Window(_Counter):
    def __init__(self, per_minute: float, limits: Limits) -> None:
        self.per_minute = per_minute
        self.capacity = per_minute * (1 - limits.other_users_share)
        self._taken: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def remaining(self, now: float) -> float:
        while self._taken and self._taken[0][0] <= now - WINDOW_SECONDS:
            self._used -= self._taken.popleft()[1]
        return self.capacity - self._used

    def wait(self, amount: float, now: float) -> float:
        lacking = min(amount, self.capacity) - self.remaining(now)
        if lacking <= 0:
            return 0.0
        for taken_at, taken in self._taken:
            lacking -= taken
            if lacking <= 0:
                return taken_at + WINDOW_SECONDS - now
        return WINDOW_SECONDS

    def take(self, amount: float, now: float) -> None:
        self._taken.append((now, amount))
        self._used += amount

    def reset(self, now: float) -> float:
        return self._taken[-1][0] + WINDOW_SECONDS - now if self._taken else 0.0

    def inherit(self, before: _Counter, now: float) -> None:
        ratio = self.capacity / before.capacity
        if isinstance(before, _Window):
            self._taken = deque((taken_at, taken * ratio) for taken_at, taken in before._taken)
        else:
            self._taken = deque([(now, (before.capacity - before.remaining(now)) * ratio)])
        self._used = sum(taken for _, taken in self._taken)


def _counters(limits: Limits, now: float) -> dict[str, _Counter]:
    per_minute = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
    return {
        name: _Window(limit, limits) if limits.algorithm == "window" else _Bucket(limit, limits, now)
        for name, limit in per_minute.items()
        if limit
    }


def duration(seconds: float) -> str:
    """Seconds as OpenAI's headers write them: ``12ms``, ``1.5s``, ``6m0s``."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"

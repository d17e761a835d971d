"""Requests and tokens a minute of one route, by either of the algorithms that providers use."""

from __future__ import annotations

import math
from collections import deque

from aboutness_local.rate_limit import duration
from benchmarks.endpoint.control import Control

WINDOW_SECONDS = 60.0


class Bucket:
    """Holds burst_seconds' worth of the limit, at first starts_at of that, and refills evenly."""

    def __init__(self, per_minute: float, control: Control, now: float) -> None:
        self.per_minute = per_minute
        self.capacity = max(1.0, per_minute / 60 * control.burst_seconds)
        self.level = self.capacity * control.starts_at
        self._rate = per_minute / 60 * (1 - control.other_users_share)
        self._now = now

    def remaining(self, now: float) -> float:
        """Units that may be taken at once."""
        self.level = min(self.capacity, self.level + (now - self._now) * self._rate)
        self._now = now
        return self.level

    def wait(self, amount: float, now: float) -> float:
        """Seconds until the amount may be taken; more than the bucket holds passes when it is full."""
        return max(0.0, min(amount, self.capacity) - self.remaining(now)) / self._rate

    def take(self, amount: float) -> None:
        """Take units, after ``wait`` was 0."""
        self.level -= amount

    def reset(self, now: float) -> float:
        """Seconds until all is as if nothing had been taken."""
        return (self.capacity - self.remaining(now)) / self._rate

    def inherit(self, before: Bucket | Window, now: float) -> None:
        """Stand as full as another limiter stood."""
        self.level = self.capacity * before.remaining(now) / before.capacity


class Window:
    """Admits the limit in any 60 seconds, less what others use steadily; starts unused."""

    def __init__(self, per_minute: float, control: Control) -> None:
        self.per_minute = per_minute
        self.capacity = per_minute * (1 - control.other_users_share)
        self._taken: deque[tuple[float, float]] = deque()
        self._used = 0.0
        self._now = 0.0

    def remaining(self, now: float) -> float:
        """Units that may be taken at once."""
        while self._taken and self._taken[0][0] <= now - WINDOW_SECONDS:
            self._used -= self._taken.popleft()[1]
        self._now = now
        return self.capacity - self._used

    def wait(self, amount: float, now: float) -> float:
        """Seconds until the amount may be taken; more than the limit passes when nothing is used."""
        lacking = min(amount, self.capacity) - self.remaining(now)
        if lacking <= 0:
            return 0.0
        for taken_at, taken in self._taken:
            lacking -= taken
            if lacking <= 0:
                return taken_at + WINDOW_SECONDS - now
        return WINDOW_SECONDS

    def take(self, amount: float) -> None:
        """Take units, after ``wait`` was 0."""
        self._taken.append((self._now, amount))
        self._used += amount

    def reset(self, now: float) -> float:
        """Seconds until all is as if nothing had been taken."""
        return self._taken[-1][0] + WINDOW_SECONDS - now if self._taken else 0.0

    def inherit(self, before: Bucket | Window, now: float) -> None:
        """Stand as used as another limiter stood; a window keeps the times at which it was used."""
        if isinstance(before, Window):
            ratio = self.capacity / before.capacity
            self._taken = deque((taken_at, taken * ratio) for taken_at, taken in before._taken)
        else:
            self._taken = deque([(now, self.capacity * (1 - before.remaining(now) / before.capacity))])
        self._used = sum(taken for _, taken in self._taken)


class RateLimit:
    """The limits of one route. A request passes when every limiter lets it."""

    def __init__(self) -> None:
        self._limiters: dict[str, Bucket | Window] = {}
        self._control = Control()

    def set(self, control: Control, now: float) -> None:
        """Behave as told from now on; what has been used so far stays used, in proportion."""
        before, self._limiters = self._limiters, {}
        for name, limit in (
            ("requests", control.requests_per_minute),
            ("tokens", control.tokens_per_minute),
        ):
            if limit:
                limiter = (
                    Window(limit, control) if control.algorithm == "window" else Bucket(limit, control, now)
                )
                if name in before:
                    limiter.inherit(before[name], now)
                self._limiters[name] = limiter
        self._control = control

    def admit(self, tokens: float, now: float) -> tuple[float, str]:
        """Take one request and its tokens.

        Returns the seconds to wait where there is too little of something (0 = admitted) and its name.
        """
        wait, lacking = 0.0, ""
        amounts = {"requests": 1.0, "tokens": tokens}
        for name, limiter in self._limiters.items():
            seconds = limiter.wait(amounts[name], now)
            if seconds > wait:
                wait, lacking = seconds, name
        if not wait:
            for name, limiter in self._limiters.items():
                limiter.take(amounts[name])
        return wait, lacking

    def headers(self, now: float, wait: float) -> str:
        """The header lines of an answer; wait: of a 429, else 0."""
        lines = []
        if self._control.headers:
            for name, limiter in self._limiters.items():
                lines.append(
                    f"x-ratelimit-limit-{name}: {int(limiter.per_minute)}\r\n"
                    f"x-ratelimit-remaining-{name}: {max(0, int(limiter.remaining(now)))}\r\n"
                    f"x-ratelimit-reset-{name}: {duration(limiter.reset(now))}\r\n"
                )
        if wait and self._control.retry_after:
            lines.append(f"retry-after-ms: {math.ceil(wait * 1000)}\r\nretry-after: {math.ceil(wait)}\r\n")
        return "".join(lines)

    def remaining(self, now: float) -> dict[str, float]:
        """Units that may be taken at once, of requests and of tokens, where there is a limit."""
        return {name: limiter.remaining(now) for name, limiter in self._limiters.items()}

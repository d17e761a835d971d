"""A provider and processes that ask it, in virtual time: only the throttle and our own Postgres are real."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.limits.throttle import Throttle
from tests.support.virtual_time import StillOperations, now, standing_still

PROMPT_TOKENS, COMPLETION_TOKENS = 500, 800


@dataclass
class Provider:
    """Limits requests and tokens a minute as a bucket that refills evenly, or over a sliding minute."""

    requests_per_minute: float
    tokens_per_minute: float = math.inf
    algorithm: Literal["bucket", "window"] = "bucket"
    burst_seconds: float = 60
    headers: bool = True
    retry_after: bool = True
    counts_answers: bool = False
    others: float = 0
    """The share of the limit that somebody else with the same key uses up."""
    starts_at: float = 1
    """How full the bucket is at first."""
    latency: Callable[[], float] = field(default_factory=lambda: _long_tailed(4.0))
    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._requests = self.starts_at * self._capacity(self.requests_per_minute)
        self._tokens = self.starts_at * self._capacity(self.tokens_per_minute)
        self._at = now()
        self._window: deque[float] = deque()

    def change(self, requests_per_minute: float) -> None:
        """Another limit from now on."""
        self._refill()
        self._requests *= requests_per_minute / self.requests_per_minute
        self.requests_per_minute = requests_per_minute

    async def chat(self) -> tuple[int, dict[str, str]]:
        """One request: its status and headers."""
        self._refill()
        charge = PROMPT_TOKENS + COMPLETION_TOKENS * self.counts_answers
        wait = max(
            (1 - self._requests) * 60 / self.requests_per_minute,
            0
            if math.isinf(self.tokens_per_minute)
            else (charge - self._tokens) * 60 / self.tokens_per_minute,
        )
        if self.algorithm == "window" and len(self._window) >= self.requests_per_minute:
            wait = self._window[0] + 60 - now()
        if wait > 0:
            self.refused.append(now())
            headers = self._headers()
            if self.retry_after:
                headers["retry-after-ms"] = str(math.ceil(wait * 1000))
            await asyncio.sleep(0.01)
            return 429, headers
        self._requests -= 1
        self._tokens -= charge
        self._window.append(now())
        self.admitted.append(now())
        headers = self._headers()
        await asyncio.sleep(self.latency())
        return 200, headers

    def rate(self, since: float, until: float) -> float:
        """Requests a second that were let in."""
        return sum(since <= at < until for at in self.admitted) / (until - since)

    def share_refused(self, since: float = 0, until: float = math.inf) -> float:
        """The share of 429s."""
        refused = sum(since <= at < until for at in self.refused)
        return refused / max(1, refused + sum(since <= at < until for at in self.admitted))

    def _capacity(self, per_minute: float) -> float:
        return max(1.0, per_minute * self.burst_seconds / 60)

    def _refill(self) -> None:
        seconds, self._at = now() - self._at, now()
        while self._window and self._window[0] <= now() - 60:
            self._window.popleft()
        if self.algorithm == "window":
            self._requests = self.requests_per_minute - len(self._window)
        else:
            ours = seconds * (1 - self.others) / 60
            self._requests += ours * self.requests_per_minute
            self._requests = min(self._requests, self._capacity(self.requests_per_minute))
        self._tokens += 0 if math.isinf(self._tokens) else seconds / 60 * self.tokens_per_minute
        self._tokens = min(self._tokens, self._capacity(self.tokens_per_minute))

    def _headers(self) -> dict[str, str]:
        if not self.headers:
            return {}
        reset = (self._capacity(self.requests_per_minute) - self._requests) * 60 / self.requests_per_minute
        headers = {
            "x-ratelimit-limit-requests": f"{self.requests_per_minute:.0f}",
            "x-ratelimit-remaining-requests": f"{max(0, int(self._requests))}",
            "x-ratelimit-reset-requests": f"{reset:.3f}s",
        }
        if not math.isinf(self.tokens_per_minute):
            full = self._capacity(self.tokens_per_minute)
            headers |= {
                "x-ratelimit-limit-tokens": f"{self.tokens_per_minute:.0f}",
                "x-ratelimit-remaining-tokens": f"{max(0, int(self._tokens))}",
                "x-ratelimit-reset-tokens": f"{(full - self._tokens) * 60 / self.tokens_per_minute:.3f}s",
            }
        return headers


def _long_tailed(median: float, sigma: float = 0.5) -> Callable[[], float]:
    draws = random.Random(1)
    return lambda: draws.lognormvariate(math.log(median), sigma)


@asynccontextmanager
async def processes(
    url: str, number: int, *, max_in_flight: int = 0, **limits: Any
) -> AsyncIterator[list[Throttle]]:
    """The throttles of so many processes that share a key; limits: what PostgresLimitStore takes."""
    pool = AsyncConnectionPool(url, min_size=number, open=False, kwargs={"autocommit": True})
    with standing_still():
        await pool.open(wait=True)
    async with pool:
        operations, name = StillOperations(pool), uuid4().hex
        yield [
            Throttle(
                PostgresLimitStore(operations, name, clock=now, **limits),
                max_in_flight=max_in_flight,
                clock=now,
            )
            for _ in range(number)
        ]


async def keep_asking(provider: Provider, throttle: Throttle, tasks: int = 560) -> None:
    """What the songs of a long range do: there is always a pack that waits."""

    async def ask() -> None:
        async with throttle.slot():
            while True:
                reservation = await throttle.reserve(PROMPT_TOKENS + 200, COMPLETION_TOKENS)
                status, headers = await provider.chat()
                if status == 200:
                    throttle.observe(headers, reservation)
                    throttle.settle(reservation, PROMPT_TOKENS, COMPLETION_TOKENS)
                    return
                await throttle.rate_limited(headers, reservation)

    async def worker() -> None:
        while True:
            await ask()

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(worker())

"""A provider's rate limits and processes that meet them, in virtual time; throttle and Postgres are real.

There is no wire here: what is answered does not matter, only when.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.limits.throttle import Throttle
from aboutness_local.rate_limit import Limits, RateLimiter
from tests.support.virtual_time import StillOperations, now, standing_still

PROMPT_TOKENS, COMPLETION_TOKENS = 500, 800


class Provider:
    """The shared model of rate limits on the virtual clock, and a latency; limits: what Limits takes."""

    def __init__(self, latency_median: float = 4.0, **limits: Any) -> None:
        self.admitted: list[float] = []
        self.refused: list[float] = []
        self._limiter = RateLimiter(Limits(**limits), clock=now)
        self._latency_median = latency_median
        self._latencies = random.Random(1)

    def change(self, requests_per_minute: float) -> None:
        """Enforce another limit from now on."""
        changed = {"requests_per_minute": requests_per_minute}
        self._limiter.change(self._limiter.limits.model_copy(update=changed))

    async def chat(self) -> tuple[int, dict[str, str]]:
        """One request: its status and headers."""
        counted = self._limiter.limits.count_tokens(prompt=PROMPT_TOKENS, completion=COMPLETION_TOKENS)
        decision = self._limiter.admit(counted)
        (self.admitted if decision.admitted else self.refused).append(now())
        await asyncio.sleep(self._latency() if decision.admitted else 0.01)
        return 200 if decision.admitted else 429, decision.headers

    def remaining_requests(self) -> float:
        """Requests that would be admitted at once."""
        return self._limiter.remaining()["requests"]

    def rate(self, since: float, until: float) -> float:
        """Requests per second that were admitted."""
        return sum(since <= at < until for at in self.admitted) / (until - since)

    def share_refused(self, since: float = 0, until: float = math.inf) -> float:
        """The share of 429s."""
        refused = sum(since <= at < until for at in self.refused)
        return refused / max(1, refused + sum(since <= at < until for at in self.admitted))

    def _latency(self) -> float:
        return self._latencies.lognormvariate(math.log(self._latency_median), 0.5)


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

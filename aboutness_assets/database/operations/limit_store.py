"""The provider's limits on one kind of request, shared by every process through our own Postgres.

The arithmetic is that of the functions in operations_2.sql, one round trip a call, under the lock of one row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.limits.headers import Quota


@dataclass(frozen=True, slots=True)
class Lease:
    """Requests that were reserved together.

    wait: seconds until the first may go; every: seconds between two of them. paused: seconds that a 429's
    pause still lasts. limited: whether a limit is known. request_rate, token_rate: units a second that all
    processes together may use now, None: any number. requests, tokens: reserved by all processes so far,
    these included. least_charge: the fewest tokens that the provider was seen to count for one request, None
    where its headers do not tell.
    """

    wait: float
    every: float
    paused: float
    limited: bool
    request_rate: float | None
    token_rate: float | None
    requests: float
    tokens: float
    least_charge: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the headers of an answer said of the limits.

    age: seconds since its request was sent. requests, tokens: reserved by all processes by then.
    """

    age: float
    requests: float
    tokens: float
    request_quota: Quota
    token_quota: Quota


@dataclass(frozen=True, slots=True)
class Pause:
    """What a 429 came to.

    seconds: until requests may go again. added: seconds by which this 429 lengthened the pause.
    begins: whether it began a new pause (a 429 to a request of before the pause belongs to the same storm).
    """

    seconds: float
    added: float
    begins: bool


class RateLimit:
    """One kind of request of one account.

    requests_per_minute, tokens_per_minute: configured limits; 0: the provider's headers tell, else they are
    found out by additive increase and multiplicative decrease. waits: seconds to wait at the first, second …
    429 in a row that names no time of its own (the last one for all that follow).
    clock: seconds on a clock that all processes share; None: Postgres' own.
    """

    def __init__(
        self,
        operations: Operations,
        name: str,
        *,
        requests_per_minute: float = 0,
        tokens_per_minute: float = 0,
        waits: Sequence[float] = (15.0, 30.0),
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._operations = operations
        self._name = name
        self._requests_per_minute = float(requests_per_minute)
        self._tokens_per_minute = float(tokens_per_minute)
        self._waits = [float(wait) for wait in waits] or [0.0]
        self._clock = clock

    async def reserve(
        self,
        requests: int,
        tokens: float,
        *,
        settled: float = 0.0,
        answered: int = 0,
        seen: Seen | None = None,
    ) -> Lease:
        """Reserve requests with so many (estimated) tokens in all; 0 requests only tells what was learnt.

        settled: tokens that earlier requests used beyond those reserved for them, below 0 where they used
        fewer. answered: requests that were, and seen: what the last of them said, both since the last call.
        """
        document = None if seen is None else Jsonb(_document(seen))

        async def call(connection: AsyncConnection, again: bool) -> Lease:
            cursor = connection.cursor(row_factory=class_row(Lease))
            await cursor.execute(
                "select * from aboutness_ops.reserve(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    self._name,
                    self._now(),
                    self._requests_per_minute,
                    self._tokens_per_minute,
                    float(requests),
                    float(tokens),
                    settled,
                    float(answered),
                    document,
                ],
            )
            lease = await cursor.fetchone()
            assert lease is not None
            return lease

        return await self._operations.query(call)

    async def rate_limited(self, *, age: float, wait: float | None) -> Pause:
        """Pause every request of this kind in every process: a 429 came to one sent ``age`` seconds ago.

        wait: seconds that the 429 asks for, None where it names none.
        """

        async def call(connection: AsyncConnection, again: bool) -> Pause:
            cursor = connection.cursor(row_factory=class_row(Pause))
            await cursor.execute(
                "select * from aboutness_ops.rate_limited(%s, %s, %s, %s, %s, %s)",
                [self._name, self._now(), self._requests_per_minute, age, wait, self._waits],
            )
            pause = await cursor.fetchone()
            assert pause is not None
            return pause

        return await self._operations.query(call)

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock()


def rate_limit_name(kind: str, endpoint: str, model: str, api_key: str) -> str:
    """What requests must have in common to share a limit; the key shows as a fingerprint only."""
    return f"{kind} {endpoint} {model} {hashlib.sha256(api_key.encode()).hexdigest()[:12]}"


def _document(seen: Seen) -> dict[str, float | None]:
    return {
        "age": seen.age,
        "requests": seen.requests,
        "tokens": seen.tokens,
        "request_limit": seen.request_quota.limit,
        "requests_remaining": seen.request_quota.remaining,
        "requests_reset": seen.request_quota.reset,
        "token_limit": seen.token_quota.limit,
        "tokens_remaining": seen.token_quota.remaining,
        "tokens_reset": seen.token_quota.reset,
    }

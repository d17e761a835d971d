"""The provider's limits on one kind of request, shared by every process through our own Postgres.

The arithmetic is in SQL functions (migrations/*_rate_limit_*.sql): one round trip per call, under
the lock of one row. A call that is retried after a commit that was not heard of reserves twice, so a tenth of
a second of the limit may stay unused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.limits.store import Lease, Observation, Pause, Place


class PostgresLimitStore:
    """A LimitStore for one kind of request of one account, which ``name`` identifies (``rate_limit_name``).

    requests_per_minute, tokens_per_minute: configured limits; 0: they are read from the provider's headers,
    else found by additive increase and multiplicative decrease. waits: seconds to wait after the first,
    second … 429 in a row that names no time of its own; the last one repeats. clock: seconds on a clock that
    all processes share; None: that of Postgres.
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
        place: Place | None = None,
        token_correction: float = 0.0,
        observation: Observation | None = None,
    ) -> Lease:
        """See LimitStore."""
        document = None if observation is None else Jsonb(_document(observation))

        async def call(connection: AsyncConnection) -> Lease:
            cursor = connection.cursor(row_factory=class_row(Lease))
            await cursor.execute(
                "select * from aboutness_ops.reserve(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    self._name,
                    self._now(),
                    self._requests_per_minute,
                    self._tokens_per_minute,
                    float(requests),
                    float(tokens),
                    None if place is None else place.requests,
                    None if place is None else place.tokens,
                    token_correction,
                    document,
                ],
            )
            lease = await cursor.fetchone()
            assert lease is not None
            return lease

        return await self._operations.query(call)

    async def rate_limited(self, *, age: float, requests: float, wait: float | None) -> Pause:
        """See LimitStore."""

        async def call(connection: AsyncConnection) -> Pause:
            cursor = connection.cursor(row_factory=class_row(Pause))
            await cursor.execute(
                "select * from aboutness_ops.rate_limited(%s, %s, %s, %s, %s, %s, %s)",
                [self._name, self._now(), self._requests_per_minute, age, float(requests), wait, self._waits],
            )
            pause = await cursor.fetchone()
            assert pause is not None
            return pause

        return await self._operations.query(call)

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock()


def _document(observation: Observation) -> dict[str, float | None]:
    return {
        "age": observation.age,
        "requests": observation.requests,
        "tokens": observation.tokens,
        "request_limit": observation.request_quota.limit,
        "requests_remaining": observation.request_quota.remaining,
        "requests_reset": observation.request_quota.reset,
        "token_limit": observation.token_quota.limit,
        "tokens_remaining": observation.token_quota.remaining,
        "tokens_reset": observation.token_quota.reset,
    }


async def seen_limits(operations: Operations, name: str) -> tuple[int, int]:
    """The requests and the tokens per minute that the provider's headers last stated; 0: not known."""

    async def select(connection: AsyncConnection) -> tuple[int, int]:
        cursor = await connection.execute(
            "select coalesce(request_limit, 0)::bigint, coalesce(token_limit, 0)::bigint"
            " from aboutness_ops.rate_limit where name = %s",
            [name],
        )
        return await cursor.fetchone() or (0, 0)

    return await operations.query(select)

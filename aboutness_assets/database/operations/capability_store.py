"""What endpoints were found to take and to refuse: the record in our own Postgres."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from aboutness_assets.database.operations.connection import Operations


class PostgresCapabilityStore:
    """A provider.capability_store.CapabilityStore.

    endpoint: without secrets (``endpoint_name``). clock: one that all processes share; None: Postgres's.
    """

    def __init__(
        self,
        operations: Operations,
        kind: str,
        endpoint: str,
        model: str,
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._operations = operations
        self._key = [kind, endpoint, model]
        self._clock = clock

    async def recall(self) -> Mapping[str, Any]:
        """See CapabilityStore."""

        async def select(connection: AsyncConnection) -> dict[str, Any]:
            cursor = await connection.execute(
                "select name, value from aboutness_ops.capability"
                " where kind = %s and endpoint = %s and model = %s"
                " and learned_at > coalesce(%s, now()) - interval '1 day'",
                [*self._key, self._now()],
            )
            return dict(await cursor.fetchall())

        return await self._operations.query(select)

    async def learn(self, facts: Mapping[str, Any]) -> None:
        """See CapabilityStore."""

        async def upsert(connection: AsyncConnection) -> None:
            await connection.execute(
                "insert into aboutness_ops.capability (kind, endpoint, model, name, value, learned_at)"
                " select %s, %s, %s, key, value, coalesce(%s, now()) from jsonb_each(%s)"
                " order by key"  # two processes that learn the same lock its rows in one order
                " on conflict (kind, endpoint, model, name)"
                " do update set value = excluded.value, learned_at = excluded.learned_at",
                [*self._key, self._now(), Jsonb(dict(facts))],
            )

        await self._operations.query(upsert)

    def _now(self) -> datetime | None:
        return None if self._clock is None else self._clock()


async def forget_capabilities(operations: Operations) -> int:
    """Forget what was found out about every endpoint and model; how many facts that were."""

    async def delete(connection: AsyncConnection) -> int:
        return (await connection.execute("delete from aboutness_ops.capability")).rowcount

    return await operations.query(delete)

"""Ids drawn from a sequence beforehand, so that an insert that is tried again inserts nothing twice."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal

from psycopg import AsyncConnection

from aboutness_assets.database.operations.connection import Operations

BLOCK = 500
"""Ids per draw: one round trip for as many requests. What a process leaves unused is lost: harmless."""


class IdBlocks:
    """Ids of one table; one for all ranges of a run."""

    def __init__(
        self, operations: Operations, table: Literal["chat_request", "attempt"], block: int = BLOCK
    ) -> None:
        self._operations = operations
        self._table = table
        self._block = block
        self._ids: deque[int] = deque()
        self._drawing = asyncio.Lock()

    async def draw(self) -> int:
        """An id that nobody else has."""
        async with self._drawing:
            if not self._ids:
                self._ids.extend(await self._operations.query(self._next_block))
            return self._ids.popleft()

    async def _next_block(self, connection: AsyncConnection) -> list[int]:
        column = "request_id" if self._table == "chat_request" else "attempt_id"
        cursor = await connection.execute(
            "select nextval(pg_get_serial_sequence(%s, %s)) from generate_series(1, %s)",
            [f"aboutness_ops.{self._table}", column, self._block],
        )
        return [int(number) for (number,) in await cursor.fetchall()]

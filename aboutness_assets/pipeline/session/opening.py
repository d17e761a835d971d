"""Opens what needs a database again while that is away: one that restarts when a run begins costs no run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from aboutness_assets.domain.errors import DatabaseAway

T = TypeVar("T")

AWAY_SECONDS = 30.0
"""A database may be away for so long when a run begins, as the service's may while rows are inserted."""

_SECONDS_BETWEEN_ATTEMPTS = 1.0


@asynccontextmanager
async def opened(
    open_: Callable[[], AbstractAsyncContextManager[T]],
    log: logging.Logger,
    away_seconds: float = AWAY_SECONDS,
) -> AsyncIterator[T]:
    """Enter what ``open_`` returns, and try again while a database is away; the first time, say so.

    Raises DatabaseAway where it is away for more than ``away_seconds``, and what else entering raises.
    """
    deadline = time.monotonic() + away_seconds
    is_told = False
    async with AsyncExitStack() as stack:
        while True:
            try:
                entered = await stack.enter_async_context(open_())
                break
            except DatabaseAway as away:
                if time.monotonic() > deadline:
                    raise
                if not is_told:
                    log.warning("Waiting up to %.0f s for a database: %s", away_seconds, away)
                    is_told = True
            await asyncio.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        yield entered

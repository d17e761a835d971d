"""Tells the person who watches a run why it waits, while it does."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aboutness_assets.provider.sender import Sender

SECONDS_BETWEEN_LINES = 60.0


@asynccontextmanager
async def waits_told(
    senders: Sequence[Sender], log: logging.Logger, seconds_between_lines: float = SECONDS_BETWEEN_LINES
) -> AsyncIterator[None]:
    """While the body runs, log a line a minute for each sender that waits: why, and until when."""
    telling = asyncio.create_task(_tell(senders, log, seconds_between_lines))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(senders: Sequence[Sender], log: logging.Logger, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        for sender in senders:
            if sender.waits_for:
                log.warning("%s", sender.waits_for)

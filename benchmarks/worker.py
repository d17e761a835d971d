"""``python -m benchmarks.worker KEY …``: fills ranges as a run does, with the settings of the environment."""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from aboutness_assets.pipeline.runs import fill_ranges
from aboutness_assets.pipeline.session import open_session
from aboutness_assets.settings import Settings, load_settings

LOG = logging.getLogger("benchmarks.worker")
LOG.disabled = True  # a line for each 429 would be measured too


async def fill(settings: Settings, keys: Sequence[str]) -> None:
    """Write a row for every song of the ranges that has none, in a session of its own."""
    run_id = f"worker {os.getpid()} {keys[0]}"
    async with open_session(settings) as session:
        await fill_ranges(session, keys, run_id, LOG, lambda key, report: None)


if __name__ == "__main__":
    asyncio.run(fill(load_settings(), sys.argv[1:]))

"""``python -m benchmarks.worker KEY …``: fills ranges as a run does, with the settings of the environment."""

import asyncio
import logging
import os
import sys

from aboutness_assets.pipeline.runs import Run, fill_ranges
from aboutness_assets.settings import load_settings

if __name__ == "__main__":
    log = logging.getLogger("benchmarks.worker")
    log.disabled = True  # a line for each 429 would be measured too
    run = Run(run_id=f"worker {os.getpid()}", budget="benchmark")
    asyncio.run(fill_ranges(load_settings(), sys.argv[1:], run, log, lambda key, report: None))

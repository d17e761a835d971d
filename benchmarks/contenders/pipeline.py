"""This project's whole pipeline over ranges, as a run does it: everything overlaps, the journal included."""

import asyncio

from aboutness_assets.settings import load_settings
from benchmarks.contenders.job import REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE, CatalogueSong, Job, Meter
from benchmarks.worker import fill

RANGE_SIZE = 1000


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Fill the ranges that hold the songs: these and no others without a row, whole ranges."""
    settings = load_settings(
        database_url=job.service_url,
        dagster_pg_url=job.operations_url,
        openai_api_key="benchmark",
        openai_base_url=job.base_url,
        chat_model=job.chat_model,
        embedding_model=job.embedding_model,
        requests_per_minute=REQUESTS_PER_MINUTE,
        tokens_per_minute=TOKENS_PER_MINUTE,
    )
    cells = sorted({(song_id - 1) // RANGE_SIZE for song_id, _, _ in songs})
    keys = [f"{cell * RANGE_SIZE + 1:09}-{(cell + 1) * RANGE_SIZE:09}" for cell in cells]
    with meter.stage("pipeline"):
        asyncio.run(fill(settings, keys))

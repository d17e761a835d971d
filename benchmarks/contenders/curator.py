"""bespokelabs-curator, generation only: its online mode over a dataset with a row for each pack.

It keeps answers in a cache directory of its own and takes the strict schema as a parameter of generation.
"""

import json
import logging
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders.job import (
    CHAT_AT_ONCE,
    REQUESTS_PER_MINUTE,
    TOKENS_PER_MINUTE,
    CatalogueSong,
    Job,
    Meter,
    packs_of,
)

_litellm = find_spec("litellm")
assert _litellm is not None and _litellm.origin is not None

# Before curator's import: nothing may leave the machine, and no progress bar is drawn. The vocabulary by
# which it counts tokens comes with litellm, one of its dependencies.
os.environ |= {
    "TIKTOKEN_CACHE_DIR": str(Path(_litellm.origin).parent / "litellm_core_utils" / "tokenizers"),
    "TELEMETRY_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "TQDM_DISABLE": "1",
    "OPENAI_API_KEY": "benchmark",
}

logging.disable(logging.WARNING)


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Generate; the texts come back as a dataset."""
    from bespokelabs import curator  # type: ignore[import-not-found]

    class Writer(curator.LLM):  # type: ignore[misc]
        def prompt(self, input: dict[str, str]) -> list[dict[str, str]]:
            messages: list[dict[str, str]] = json.loads(input["messages"])
            return messages

        def parse(self, input: dict[str, str], response: str) -> list[dict[str, str]]:
            return list(json.loads(response)["songs"].values())

    with tempfile.TemporaryDirectory() as cache:
        writer = Writer(
            model_name=job.chat_model,
            backend="openai",
            generation_params={"response_format": job.response_format, "reasoning_effort": "none"},
            backend_params={
                "base_url": job.base_url,
                "max_requests_per_minute": REQUESTS_PER_MINUTE,
                "max_tokens_per_minute": TOKENS_PER_MINUTE,
                "max_concurrent_requests": CHAT_AT_ONCE,
                "require_all_responses": True,
            },
        )
        with meter.stage("chat"):
            rows = [{"messages": json.dumps(job.messages(pack))} for pack in packs_of(songs)]
            answered = writer(rows, working_dir=cache).dataset
        assert len(answered) == len(songs), f"curator wrote {len(answered)} of {len(songs)} texts"

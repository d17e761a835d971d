"""LiteLLM's own proxy, installed from its package, before the stand-in endpoint."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aboutness_local.loopback import HOST, free_port
from tests.support.backfills import QUICK, Backfills, sample_songs
from tests.support.installed_programs import answers, installed, running
from tests.support.oracle import Oracle
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

LITELLM = "litellm[proxy]==1.108.0"


@dataclass(frozen=True)
class Proxy:
    """A running proxy that serves the models ``writer`` and ``vectors``."""

    settings: dict[str, Any]


@contextmanager
def litellm_proxy(cache: Path, directory: Path, chat_url: str, embeddings_url: str) -> Iterator[Proxy]:
    """The proxy, with its defaults, before one endpoint for chat and one for embeddings."""
    command, port, key = installed(cache, LITELLM) / "litellm", free_port(0), f"sk-{secrets.token_hex(24)}"
    models = {"writer": chat_url, "vectors": embeddings_url}
    config = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{name}", "api_base": url, "api_key": "any"},
            }
            for name, url in models.items()
        ],
        "general_settings": {"master_key": key},
    }
    written = directory / "litellm.yaml"
    written.write_text(json.dumps(config))  # JSON is YAML
    root = f"http://{HOST}:{port}"
    with running(
        [command, "--config", written, "--host", HOST, "--port", str(port)],
        directory / "litellm.log",
        lambda: answers(f"{root}/health/liveliness"),
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    ):
        yield Proxy(
            {
                "openai_base_url": root,
                "openai_api_key": key,
                "chat_model": "writer",
                "embedding_model": "vectors",
                "pack_size": 4,
            }
        )


@pytest.mark.proxies
@pytest.mark.timeout(900)
async def test_a_range_is_filled_through_the_proxy(
    pytestconfig: pytest.Config,
    tmp_path: Path,
    make_service: Callable[..., ServiceDatabase],
    stand_in: StandIn,
) -> None:
    songs = sample_songs(12)
    oracle = Oracle(songs)
    cache = pytestconfig.cache.mkdir("litellm")
    with litellm_proxy(cache, tmp_path, stand_in.base_url, stand_in.base_url) as proxy:
        for faults in ([], ["http_400", "http_500"]):
            stand_in.reset()
            stand_in.control({"chat": {"script": faults}})
            backfills = Backfills(make_service(songs=songs), stand_in, tuning=QUICK)

            report = await backfills.fill(**proxy.settings)

            assert report.failed == []
            assert oracle.without_a_row(backfills.texts()) == set()
            assert oracle.without_own_texts(backfills.texts()) == set()

"""A Postgres and the stand-in endpoint for benchmarks of Dagster itself, and a directory for its homes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aboutness_local.endpoint_process import EndpointProcess
from aboutness_local.postgres import EmbeddedPostgres
from tests.support.stand_in import StandIn


@contextmanager
def dagster_servers() -> Iterator[tuple[EmbeddedPostgres, StandIn, Path]]:
    """Both servers, started, and an empty directory; all of it is gone at the end. Vectors have 8 numbers."""
    with tempfile.TemporaryDirectory(prefix="aboutness-dagster-") as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres", {"max_connections": "200", "fsync": "off"})
        endpoint = EndpointProcess(Path(directory) / "endpoint", dimension=8).start()
        server.start()
        try:
            yield server, StandIn(endpoint), Path(directory)
        finally:
            endpoint.reset()
            server.reset()

"""The endpoint in a process of its own, as the benchmarks see it."""

import http.client
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROJECT = Path(__file__).parents[2]


class EndpointProcess:
    """A context manager: the process runs within ``with``."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.endpoint"], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The process id, to look at its CPU time."""
        return self._process.pid

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return f"http://127.0.0.1:{self._port}/v1"

    def control(self, **routes: dict[str, Any]) -> None:
        """Change the behavior of ``chat`` and ``embeddings``, by the fields of Control; the rest stays."""
        self._call("PUT", "/control", routes)

    def stats(self) -> dict[str, Any]:
        """By route, what Route.report returns."""
        return self._call("GET", "/stats")

    def clear_stats(self) -> None:
        """Start counting from zero; behavior and limits stay as they are."""
        self._call("DELETE", "/stats")

    def reset(self) -> None:
        """Answer immediately, limit nothing, and start counting from zero."""
        self._call("DELETE", "/control")
        self.clear_stats()

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            answer: dict[str, Any] = json.load(reply)
        finally:
            connection.close()
        if reply.status != 200:
            raise ValueError(f"The benchmark endpoint refuses {method} {path}: {answer}")
        return answer

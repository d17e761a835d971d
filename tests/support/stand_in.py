"""The stand-in endpoint as the tests use it: they set its behavior and read what it received and billed."""

import json
import urllib.request
from typing import Any, Protocol


class EndpointServer(Protocol):
    """A stand-in that runs somewhere."""

    @property
    def root_url(self) -> str:
        """The address above /v1, /control, /requests and /billing."""


class StandIn:
    """A running stand-in endpoint."""

    def __init__(self, process: EndpointServer) -> None:
        self._root_url = process.root_url
        self.base_url = f"{self._root_url}/v1"

    def control(self, control: dict[str, Any]) -> None:
        """Set its behavior, as control.Control describes it."""
        self._call("PUT", "/control", control)

    def reset(self) -> None:
        """Make it honest, immediate, unlimited and free, with an empty record and no bills."""
        self._call("DELETE", "/control")

    def requests(self) -> dict[str, Any]:
        """What it received since the last reset: counts and requests, as GET /requests returns them."""
        return self._call("GET", "/requests")

    def billing(self) -> dict[str, Any]:
        """What it billed since the last reset, as billing.Billing.report describes it."""
        return self._call("GET", "/billing")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root_url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            answer: dict[str, Any] = json.load(reply)
        return answer

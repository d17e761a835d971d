"""What the provider's room needs of a store of what endpoints take, shared by all processes.

``PostgresCapabilityStore`` in database/operations is the real one, ``MemoryCapabilityStore`` in tests/support
serves unit tests. Who learns a fact names it and gives it its meaning; the store knows neither.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit


class CapabilityStore(Protocol):
    """What is known of one kind of request to one model of one endpoint."""

    async def recall(self) -> Mapping[str, Any]:
        """The facts that any process learned within the last day, JSON values by name.

        Raises FatalError when the store cannot be reached.
        """
        ...

    async def learn(self, facts: Mapping[str, Any]) -> None:
        """Keep facts for all processes, in place of those of the same names; others stay as they are.

        Raises FatalError when the store cannot be reached.
        """
        ...


def endpoint_name(base_url: str) -> str:
    """Names an endpoint without secrets: no user, no password; a query shows only as a fingerprint."""
    url = urlsplit(base_url)
    host = url.netloc.rpartition("@")[2].lower()
    query = f" {hashlib.sha256(url.query.encode()).hexdigest()[:12]}" if url.query else ""
    return f"{url.scheme.lower()}://{host}{url.path.rstrip('/')}{query}"

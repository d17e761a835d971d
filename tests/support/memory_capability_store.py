"""A store of capabilities in memory, for unit tests; the conformance suite runs over it and Postgres's."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryCapabilityStore:
    """See CapabilityStore. Clients that share one are processes that share our own Postgres.

    facts: what is known from the start.
    """

    def __init__(self, clock: Callable[[], datetime] = _now, facts: Mapping[str, Any] | None = None) -> None:
        self._clock = clock
        self._facts = {name: (json.dumps(value), clock()) for name, value in (facts or {}).items()}

    async def recall(self) -> Mapping[str, Any]:
        """See CapabilityStore."""
        since = self._clock() - timedelta(days=1)
        return {name: json.loads(value) for name, (value, at) in self._facts.items() if at > since}

    async def learn(self, facts: Mapping[str, Any]) -> None:
        """See CapabilityStore."""
        self._facts |= {name: (json.dumps(value), self._clock()) for name, value in facts.items()}

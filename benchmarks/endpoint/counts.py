"""What the endpoint counts on one route."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Counts:
    """Totals and counts per second; a request counts when it is admitted or refused, not when answered."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._items = 0
        self._tokens_answered = 0.0
        self._by_second: dict[str, Counter[int]] = {
            name: Counter() for name in ("answered", "rate_limited", "items_answered")
        }

    def add(self, now: float, items: int, tokens: float, *, admitted: bool) -> None:
        """Count a request for so many songs or inputs, and its tokens as the limit counts them."""
        second = int(now - self._began)
        self._items += items
        if admitted:
            self._tokens_answered += tokens
            self._by_second["answered"][second] += 1
            self._by_second["items_answered"][second] += items
        else:
            self._by_second["rate_limited"][second] += 1

    def report(self, now: float) -> dict[str, Any]:
        """Totals and series; items are songs (chat) or inputs (embeddings)."""
        seconds = int(now - self._began) + 1
        totals = {name: counter.total() for name, counter in self._by_second.items()}
        return {
            "seconds": now - self._began,
            "requests": totals["answered"] + totals["rate_limited"],
            "items": self._items,
            "tokens_answered": self._tokens_answered,
            **totals,
            "by_second": {
                name: [counter[second] for second in range(seconds)]
                for name, counter in self._by_second.items()
            },
        }

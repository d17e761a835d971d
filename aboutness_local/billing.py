"""What the simulated provider charges: it bills what it finishes, whether or not the client still listens."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from aboutness_local.control import Prices
from aboutness_local.exchange import ROUTES, Exchange, Route, ServiceTier

PRICE_FACTOR: dict[ServiceTier, float] = {"default": 1, "flex": 0.5}
"""Flex costs half: https://developers.openai.com/api/docs/guides/flex-processing"""

LISTED_BILLS = 20_000
"""GET /billing lists the latest of them; its totals are of all."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What one request costs."""

    route: Route
    model: str
    service_tier: ServiceTier
    prompt_tokens: int
    cached_tokens: int
    """Part of prompt_tokens."""
    completion_tokens: int
    usd: float


def bill(exchange: Exchange, prices: Prices) -> Bill | None:
    """The bill for an exchange by the work that was done; None where no answer was produced.

    An answer that is produced is billed however its delivery ends and whatever usage its body states.
    """
    usage = exchange.usage
    if usage is None or exchange.status >= 400:
        return None
    if exchange.route == "chat":
        per_million = (
            (usage.prompt_tokens - usage.cached_tokens) * prices.chat.input
            + usage.cached_tokens * prices.chat.cached
            + usage.completion_tokens * prices.chat.output
        )
    else:
        per_million = usage.prompt_tokens * prices.embedding
    return Bill(
        route=exchange.route,
        model=exchange.request["model"],
        service_tier=exchange.service_tier,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        usd=per_million * PRICE_FACTOR[exchange.service_tier] / 1e6,
    )


class Billing:
    """The bills so far, and how many answers are still being worked on."""

    def __init__(self) -> None:
        self._in_progress = 0
        self._bills: deque[Bill] = deque(maxlen=LISTED_BILLS)
        self._totals: dict[Route, dict[str, float]] = {
            route: dict.fromkeys(
                ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "usd"), 0
            )
            for route in ROUTES
        }

    @contextmanager
    def working_on(self, exchange: Exchange, prices: Prices) -> Iterator[None]:
        """The time that the provider takes for an answer; at its end the answer is billed."""
        due = bill(exchange, prices)
        if due is None:
            yield
            return
        self._in_progress += 1
        try:
            yield
            self._add(due)
        finally:
            self._in_progress -= 1

    def report(self) -> dict[str, Any]:
        """The document of GET /billing: in_progress, totals (usd, and by route), and the bills in order."""
        return {
            "in_progress": self._in_progress,
            "totals": {"usd": sum(total["usd"] for total in self._totals.values()), **self._totals},
            "bills": [asdict(each) for each in self._bills],
        }

    def _add(self, due: Bill) -> None:
        self._bills.append(due)
        total = self._totals[due.route]
        total["requests"] += 1
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "usd"):
            total[name] += getattr(due, name)

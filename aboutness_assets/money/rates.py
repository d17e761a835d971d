"""Dollars per million tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per million tokens.

    cached: read from the provider's cache; cache_write: written to it. above: the prompt tokens of a request
    above which these rates hold, for all of its tokens (long context).
    """

    prompt: Decimal
    cached: Decimal
    cache_write: Decimal
    completion: Decimal
    above: int = 0


TIER_FACTORS: Mapping[str, Decimal] = {
    "flex": Decimal("0.5"),
    "batch": Decimal("0.5"),
    "priority": Decimal(2),
}
"""What OpenAI takes in a service tier, times the standard price (developers.openai.com/api/docs/pricing)."""


def multiplied(rates: Sequence[Rates], factor: Decimal) -> tuple[Rates, ...]:
    """The rates times a factor."""
    return tuple(
        Rates(
            prompt=each.prompt * factor,
            cached=each.cached * factor,
            cache_write=each.cache_write * factor,
            completion=each.completion * factor,
            above=each.above,
        )
        for each in rates
    )

"""What models charge for tokens."""

import re
from dataclasses import dataclass

_SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    prompt: float
    cached_prompt: float
    completion: float


# OpenAI's price list of November 2026 (FACTS), synchronous requests; Batch and Flex are half of it.
PRICES = {
    "gpt-6-luna": Price(0.10, 0.01, 0.50),
    "text-embedding-3-small": Price(0.02, 0.02, 0.0),
    # The endpoint of aboutness-local costs nothing.
    "stand-in-writer": Price(0.0, 0.0, 0.0),
    "stand-in-wordllama": Price(0.0, 0.0, 0.0),
}


def cost_usd(
    model: str, *, prompt_tokens: int, cached_tokens: int = 0, completion_tokens: int = 0
) -> float | None:
    """US dollars for so many tokens of a model or of its dated snapshot; None for a model of unknown price.

    cached_tokens are those among prompt_tokens that the provider read from its cache.
    """
    price = PRICES.get(_SNAPSHOT_DATE.sub("", model))
    if price is None:
        return None
    return (
        (prompt_tokens - cached_tokens) * price.prompt
        + cached_tokens * price.cached_prompt
        + completion_tokens * price.completion
    ) / 1_000_000

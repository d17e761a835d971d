"""Faults of what is paid for: usage that is missing or untrue, and service tiers that are not served.

They change what the reply says. What GET /billing charges is the work that was really done.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from aboutness_local.exchange import ApiError, Exchange
from aboutness_local.faults.registry import fault

ABSURD_TOKENS = 10**12


def _asks_for_flex(exchange: Exchange) -> bool:
    return exchange.request.get("service_tier") == "flex"


@fault("chat", "embeddings")
def usage_missing(exchange: Exchange, rng: Random) -> None:
    """The answer does not say what it cost: no usage, or a null."""
    body = _body_of(exchange)
    if rng.random() < 0.5:
        del body["usage"]
    else:
        body["usage"] = None


@fault("chat", "embeddings")
def usage_zero(exchange: Exchange, rng: Random) -> None:
    """The answer says that it cost nothing."""
    _alter_counts(exchange, lambda count: 0)


@fault("chat", "embeddings")
def usage_negative(exchange: Exchange, rng: Random) -> None:
    """Every count of tokens is below zero."""
    _alter_counts(exchange, lambda count: -1 - count)


@fault("chat", "embeddings")
def usage_absurd(exchange: Exchange, rng: Random) -> None:
    """Every count of tokens is a million millions."""
    _alter_counts(exchange, lambda count: ABSURD_TOKENS)


@fault("chat")
def usage_cached_above_prompt(exchange: Exchange, rng: Random) -> None:
    """More prompt tokens came from the cache than there were."""
    usage = _body_of(exchange)["usage"]
    usage["prompt_tokens_details"]["cached_tokens"] = 10 * usage["prompt_tokens"]


@fault("chat", applies=_asks_for_flex)
def flex_unavailable(exchange: Exchange, rng: Random) -> None:
    """Flex has no capacity: a 429 that is not a rate limit and is not billed.

    OpenAI's guide (developers.openai.com/api/docs/guides/flex-processing) gives status and words; it does not
    show the body, so type and code are a guess.
    """
    raise ApiError(429, "Resource Unavailable", "resource_unavailable", code="resource_unavailable")


@fault("chat", applies=_asks_for_flex)
def flex_served_as_default(exchange: Exchange, rng: Random) -> None:
    """The request asked for flex and is served, and billed, at the default tier."""
    exchange.service_tier = "default"
    _body_of(exchange)["service_tier"] = "default"


def _body_of(exchange: Exchange) -> dict[str, Any]:
    assert isinstance(exchange.body, dict)
    return exchange.body


def _alter_counts(exchange: Exchange, alter: Callable[[int], int]) -> None:
    """Change every count of tokens in the usage, those of its details included."""
    usage = _body_of(exchange)["usage"]
    for counts in (usage, *(part for part in usage.values() if isinstance(part, dict))):
        for name, count in counts.items():
            if isinstance(count, int):
                counts[name] = alter(count)

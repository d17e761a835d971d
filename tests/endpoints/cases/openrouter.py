"""OpenRouter: a status is sent before the model answers, so an error may come with HTTP 200."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    chat,
    error,
    first,
    message_changed,
)
from tests.support.scripted_endpoint import Answer

LIMITS = "https://openrouter.ai/docs/api-reference/limits"


def router_error(status: int, message: str, code: int | None = None, **metadata: Any) -> Answer:
    """OpenRouter's form of an error; code: what it states, by itself the status."""
    return error(status, {"error": {"code": code or status, "message": message, "metadata": metadata}})


def _only_reasoning(message: dict[str, Any]) -> None:
    message.update(content=None, reasoning=message["content"])


OPENROUTER = Provider(
    "OpenRouter",
    "https://openrouter.ai/api/v1",
    (
        Case(
            "says 502 within HTTP 200",
            "https://github.com/nodetool-ai/nodetool/pull/5755",
            (Rule(first(2), router_error(200, "Provider returned error", 502, provider_name="x")),),
            Fills(more_requests=2),
        ),
        Case(
            "has no credits left (402)",
            LIMITS,
            (Rule(chat, router_error(402, "This request requires more credits, or fewer max_tokens.")),),
            Stops("requires more credits", requests=8),
        ),
        Case(
            "writes the answer into `reasoning` alone",
            "https://openrouter.ai/docs/use-cases/reasoning-tokens",
            (Rule(chat, message_changed(_only_reasoning)),),
            Fills(),
        ),
    ),
)

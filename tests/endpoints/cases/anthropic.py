"""Anthropic's OpenAI-compatible address: it ignores what it does not know, and has no embeddings."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    always,
    chat,
    embeddings,
    error,
    first,
    message_changed,
)
from tests.support.scripted_endpoint import Answer

COMPATIBILITY = "https://docs.anthropic.com/en/api/openai-sdk"
ERRORS = "https://docs.anthropic.com/en/api/errors"


def anthropic_error(status: int, kind: str, message: str, **headers: str) -> Answer:
    """Anthropic's form of an error."""
    return error(status, {"type": "error", "error": {"type": kind, "message": message}}, **headers)


def _with_prose(message: dict[str, Any]) -> None:
    message["content"] = f"Here is what I found:\n\n```json\n{message['content']}\n```\n\nAnything else?"


ANTHROPIC = Provider(
    "Anthropic",
    "https://api.anthropic.com/v1/",
    (
        Case(
            "ignores `response_format` and answers with prose around a fence",
            COMPATIBILITY,
            (Rule(chat, message_changed(_with_prose)),),
            Fills(),
        ),
        Case(
            "reaches its rate limit (429 `rate_limit_error`)",
            ERRORS,
            (
                Rule(
                    first(1),
                    anthropic_error(
                        429,
                        "rate_limit_error",
                        "This request would exceed your organization's rate limit of 4,000 output tokens per "
                        "minute.",
                        retry_after="1",
                    ),
                ),
            ),
            Fills(more_requests=3, warns="4,000 output tokens per minute"),
        ),
        Case(
            "is overloaded now and then (529)",
            ERRORS,
            (Rule(first(2), anthropic_error(529, "overloaded_error", "Overloaded")),),
            Fills(more_requests=2),
        ),
        Case(
            "has no credit left (400, not 402)",
            ERRORS,
            (
                Rule(
                    chat,
                    anthropic_error(
                        400,
                        "invalid_request_error",
                        "Your credit balance is too low to access the API. Please go to Plans & Billing to "
                        "upgrade or purchase credits.",
                    ),
                ),
            ),
            Stops("Your credit balance is too low"),
        ),
        Case(
            "refuses the key (401)",
            ERRORS,
            (Rule(always, anthropic_error(401, "authentication_error", "invalid x-api-key")),),
            Stops("invalid x-api-key", requests=3),
        ),
        Case(
            "does not let this key use the API (403 to everything)",
            ERRORS,
            (
                Rule(
                    chat,
                    anthropic_error(
                        403, "permission_error", "Your API key does not have permission to use the resource."
                    ),
                ),
            ),
            Stops("does not have permission"),
        ),
        Case(
            "has no embeddings (404)",
            COMPATIBILITY,
            (Rule(embeddings, anthropic_error(404, "not_found_error", "Not Found")),),
            Stops("Not Found", requests=3),
        ),
    ),
    notes="It has no embeddings: put a gateway before it and a provider that has some.",
)

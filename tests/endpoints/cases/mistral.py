"""Mistral: validation errors as FastAPI writes them, and thoughts as parts of the content."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    always,
    carries,
    chat,
    error,
    first,
    message_changed,
    texts_above,
)
from tests.support.scripted_endpoint import Answer

DOCUMENTATION = "https://docs.mistral.ai/api/"
EXTRA_INPUTS = "https://github.com/mistralai/platform-docs-public/issues/7"
DRAFT = (
    '{"songs": {"1": {"emotions_text": "draft feelings", "emotions_confidence": "low", '
    '"moments_text": "draft moments", "moments_confidence": "low"}}}'
)


def _extra_forbidden(name: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "extra_forbidden",
            "loc": ["body", name],
            "msg": "Extra inputs are not permitted",
            "input": 1,
        }
    ]


def _in_parts(message: dict[str, Any]) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}], "closed": True}
    content = message["content"]
    halves = [content[: len(content) // 2], content[len(content) // 2 :]]
    message["content"] = [thinking, *({"type": "text", "text": half} for half in halves)]


def mistral_error(status: int, message: object, kind: str, code: int | None = None) -> Answer:
    """Mistral's flat form of an error."""
    return error(status, {"object": "error", "message": message, "type": kind, "param": None, "code": code})


MISTRAL = Provider(
    "Mistral",
    "https://api.mistral.ai/v1",
    (
        Case(
            "forbids `reasoning_effort` (422 with a list `detail`)",
            "https://github.com/zeroclaw-labs/zeroclaw/issues/2693",
            (
                Rule(
                    carries("reasoning_effort"), error(422, {"detail": _extra_forbidden("reasoning_effort")})
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "forbids `max_completion_tokens` (422 with the list within `message`)",
            "https://github.com/editor-code-assistant/eca/issues/231",
            (
                Rule(
                    carries("max_completion_tokens"),
                    mistral_error(
                        422,
                        {"detail": _extra_forbidden("max_completion_tokens")},
                        "invalid_request_error",
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "forbids both, without saying what",
            EXTRA_INPUTS,
            (
                Rule(
                    carries("reasoning_effort"),
                    mistral_error(422, "Unprocessable Entity", "internal_error_proxy", 1000),
                ),
                Rule(
                    carries("max_completion_tokens"),
                    mistral_error(422, "Unprocessable Entity", "internal_error_proxy", 1000),
                ),
            ),
            Fills(more_requests=12),
        ),
        Case(
            "sends content in parts, with a draft in its thoughts",
            "https://docs.mistral.ai/capabilities/reasoning/",
            (Rule(chat, message_changed(_in_parts)),),
            Fills(),
        ),
        Case(
            "has no capacity in this tier now (429)",
            DOCUMENTATION,
            (
                Rule(
                    first(2),
                    mistral_error(
                        429,
                        "Service tier capacity exceeded for this model.",
                        "service_tier_capacity_exceeded",
                        3505,
                    ),
                ),
            ),
            Fills(more_requests=2, warns="Service tier capacity exceeded"),
        ),
        Case(
            "refuses the key (401 with a text `detail`)",
            DOCUMENTATION,
            (Rule(always, error(401, {"detail": "Unauthorized"})),),
            Stops("Unauthorized", requests=3),
        ),
        Case(
            "takes so many tokens in one embedding request (400)",
            DOCUMENTATION,
            (
                Rule(
                    texts_above(12),
                    mistral_error(
                        400,
                        "Too many tokens overall, split into more batches.",
                        "invalid_request_prompt",
                        3210,
                    ),
                ),
            ),
            Fills(more_requests=5),
        ),
    ),
)

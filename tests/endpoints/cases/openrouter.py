"""OpenRouter: a status is sent before the model answers, so an error may come with HTTP 200."""

from typing import Any

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    carries,
    changed,
    chat,
    error,
    first,
    json_schema,
    message_changed,
    unwelcome,
)
from tests.support.scripted_endpoint import Answer

ERRORS = "https://openrouter.ai/docs/api-reference/errors"
LIMITS = "https://openrouter.ai/docs/api-reference/limits"


def router_error(status: int, message: str, code: int | None = None, **metadata: Any) -> Answer:
    """OpenRouter's form of an error; code: what it states, by itself the status."""
    return error(status, {"error": {"code": code or status, "message": message, "metadata": metadata}})


def _error_in_choice(body: dict[str, Any]) -> None:
    body["choices"][0] = {
        "index": 0,
        "finish_reason": "error",
        "error": {"code": 502, "message": "The upstream provider broke off."},
        "message": {"role": "assistant", "content": '{"songs": {"1": {"emotions_text": "half'},
    }


def _finish_reason_error(body: dict[str, Any]) -> None:
    body["choices"][0].update(finish_reason="error", message={"role": "assistant", "content": ""})


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
            "puts the error into `choices[0].error`",
            ERRORS,
            (Rule(first(2), changed(_error_in_choice)),),
            Fills(more_requests=2),
        ),
        Case(
            "ends with `finish_reason: error` and no more",
            ERRORS,
            (Rule(first(2), changed(_finish_reason_error)),),
            Fills(more_requests=2),
        ),
        Case(
            "sends `choices: null`",
            "https://github.com/decolua/9router/issues/2727",
            (Rule(first(2), changed(lambda body: body.update(choices=None))),),
            Fills(more_requests=2),
        ),
        Case(
            "sends an empty list of choices",
            "https://github.com/UKGovernmentBEIS/inspect_ai/pull/1536",
            (Rule(first(2), changed(lambda body: body.update(choices=[]))),),
            Fills(more_requests=2),
        ),
        Case(
            "says 429 within HTTP 200",
            ERRORS,
            (Rule(first(2), router_error(200, "model is temporarily rate-limited upstream", 429)),),
            Fills(more_requests=2, warns="temporarily rate-limited upstream"),
        ),
        Case(
            "says 402 within HTTP 200",
            ERRORS,
            (Rule(chat, router_error(200, "This account has insufficient credits.", 402)),),
            Stops("insufficient credits", requests=8),
        ),
        Case(
            "has no credits left (402)",
            LIMITS,
            (Rule(chat, router_error(402, "This request requires more credits, or fewer max_tokens.")),),
            Stops("requires more credits", requests=8),
        ),
        Case(
            "refuses one title (403 with the reasons of a moderation)",
            ERRORS,
            (
                Rule(
                    unwelcome,
                    router_error(
                        403,
                        "The chosen model requires moderation and your input was flagged.",
                        reasons=["violence"],
                        flagged_input="…",
                        provider_name="x",
                    ),
                ),
            ),
            FailsAlone("your input was flagged"),
        ),
        Case(
            "refuses one title (403 within HTTP 200)",
            ERRORS,
            (Rule(unwelcome, router_error(200, "Flagged by the moderation of the provider.", 403)),),
            FailsAlone("Flagged by the moderation"),
        ),
        Case(
            "finds no host that takes a schema (404)",
            "https://openrouter.ai/docs/features/provider-routing",
            (Rule(json_schema, router_error(404, "No endpoints found that can handle what was asked for.")),),
            Fills(more_requests=8),
        ),
        Case(
            "finds no host for this effort (404)",
            "https://openrouter.ai/docs/use-cases/reasoning-tokens",
            (Rule(carries("reasoning_effort"), router_error(404, "No endpoints found that fit.")),),
            Fills(more_requests=8),
        ),
        Case(
            "writes the answer into `reasoning` alone",
            "https://openrouter.ai/docs/use-cases/reasoning-tokens",
            (Rule(chat, message_changed(_only_reasoning)),),
            Fills(),
        ),
    ),
)

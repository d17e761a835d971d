"""Google's Gemini by its OpenAI-compatible address: errors in arrays, quotas and schemas of its own."""

from typing import Any

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    always,
    carries,
    changed,
    chat,
    error,
    first,
    json_schema,
    texts_above,
    unwelcome,
)
from tests.support.scripted_endpoint import Answer

RATE_LIMITS = "https://ai.google.dev/gemini-api/docs/rate-limits"
COMPATIBILITY = "https://ai.google.dev/gemini-api/docs/openai"


def google_error(status: int, state: str, message: str, details: list[Any] | None = None) -> Answer:
    """Google's form of an error, alone in an array."""
    described = {"code": status, "message": message, "status": state, "details": details or []}
    return error(status, [{"error": described}])


GEMINI = Provider(
    "Google Gemini",
    "https://generativelanguage.googleapis.com/v1beta/openai/",
    (
        Case(
            "does not know `$defs` in a schema (400 in an array)",
            "https://github.com/musistudio/claude-code-router/issues/187",
            (
                Rule(
                    json_schema,
                    google_error(
                        400,
                        "INVALID_ARGUMENT",
                        'Invalid JSON payload received. Unknown name "$defs" at '
                        "'generation_config.response_schema': Cannot find field.",
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "finds that a schema has too many states (400)",
            "https://ai.google.dev/gemini-api/docs/structured-output",
            (
                Rule(
                    json_schema,
                    google_error(
                        400,
                        "INVALID_ARGUMENT",
                        "What you ask for produces a constraint that has too many states for serving.",
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            'cannot switch thinking off (400 "Budget 0 is invalid")',
            "https://github.com/vercel/ai/issues/8027",
            (
                Rule(
                    carries("reasoning_effort"),
                    google_error(
                        400,
                        "INVALID_ARGUMENT",
                        "Budget 0 is invalid. This model only works in thinking mode.",
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            'grants this project nothing (429 "limit: 0")',
            "https://github.com/continuedev/continue/issues/10062",
            (
                Rule(
                    chat,
                    google_error(
                        429,
                        "RESOURCE_EXHAUSTED",
                        "Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, "
                        "model: gemini-pro\nPlease retry in 20.04s.",
                        [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20s"}],
                    ),
                ),
            ),
            Stops("limit: 0"),
        ),
        Case(
            "reaches its limit a minute (429 with the time in its words)",
            "https://github.com/ogkalu2/comic-translate/issues/403",
            (
                Rule(
                    first(2),
                    google_error(
                        429,
                        "RESOURCE_EXHAUSTED",
                        "Quota exceeded for metric: generate_content_free_tier_requests, limit: 20, "
                        "model: gemini-flash\nPlease retry in 0.05s.",
                        [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.05s"}],
                    ),
                ),
            ),
            Fills(more_requests=2, warns="limit: 20"),
        ),
        Case(
            "refuses the key (400, not 401)",
            "https://ai.google.dev/gemini-api/docs/troubleshooting",
            (
                Rule(
                    always,
                    google_error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
                ),
            ),
            Stops("API key not valid"),
        ),
        Case(
            "does not serve this country (400)",
            "https://ai.google.dev/gemini-api/docs/available-regions",
            (
                Rule(
                    always,
                    google_error(
                        400, "FAILED_PRECONDITION", "User location is not supported for the API use."
                    ),
                ),
            ),
            Stops("User location is not supported"),
        ),
        Case(
            "is overloaded now and then (503)",
            "https://ai.google.dev/gemini-api/docs/troubleshooting",
            (
                Rule(
                    first(2),
                    google_error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
                ),
            ),
            Fills(more_requests=2),
        ),
        Case(
            "blocks the answer about one title (no content at all)",
            COMPATIBILITY,
            (
                Rule(
                    unwelcome,
                    changed(
                        lambda body: body["choices"][0].update(
                            finish_reason="content_filter: PROHIBITED_CONTENT", message={"role": "assistant"}
                        )
                    ),
                ),
            ),
            FailsAlone("", ("content_filter", "unparsable")),
        ),
        Case(
            "takes 100 texts in one embedding request",
            "https://github.com/StarTrail-org/LEANN/pull/214",
            (
                Rule(
                    texts_above(100),
                    google_error(
                        400,
                        "INVALID_ARGUMENT",
                        "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch",
                    ),
                ),
            ),
            Fills(more_requests=4),
            songs=60,
        ),
    ),
)

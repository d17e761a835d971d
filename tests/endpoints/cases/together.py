"""Together, a host of open models."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    carries,
    chat,
    error,
    first,
    json_schema,
    openai_error,
)

TOGETHER = Provider(
    "Together",
    "https://api.together.xyz/v1",
    (
        Case(
            "does not know `encoding_format` (400)",
            "https://github.com/ogx-ai/ogx/pull/3559",
            (
                Rule(
                    carries("encoding_format"),
                    openai_error(400, "Unrecognized request arguments supplied: encoding_format"),
                ),
            ),
            Fills(more_requests=3),
        ),
        Case(
            "has no credit left (402)",
            "https://docs.together.ai/docs/error-codes",
            (Rule(chat, openai_error(402, "Credit limit exceeded, please add credits.", "credit_limit")),),
            Stops("Credit limit exceeded", requests=8),
        ),
        Case(
            "reaches its rate limit (429)",
            "https://docs.together.ai/docs/rate-limits",
            (
                Rule(
                    first(2),
                    openai_error(
                        429,
                        "You have reached the rate limit of this model: 1 queries per second.",
                        "rate_limit",
                    ),
                ),
            ),
            Fills(more_requests=2, warns="1 queries per second"),
        ),
        Case(
            "cannot read a schema with `$ref` (422)",
            "https://docs.together.ai/docs/json-mode",
            (
                Rule(
                    json_schema,
                    error(422, {"error": {"message": "Input validation error", "type": "invalid"}}),
                ),
            ),
            Fills(more_requests=8),
        ),
    ),
)

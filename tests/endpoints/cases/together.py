"""Together, a host of open models."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    chat,
    first,
    openai_error,
)

TOGETHER = Provider(
    "Together",
    "https://api.together.xyz/v1",
    (
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
    ),
)

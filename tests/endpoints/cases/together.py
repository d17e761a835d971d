"""Together, a host of open models."""

from tests.endpoints.case import (
    Case,
    Provider,
    Rule,
    Stops,
    chat,
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
    ),
)

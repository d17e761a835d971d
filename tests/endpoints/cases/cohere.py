"""Cohere's OpenAI-compatible address: flat errors."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    error,
    texts_above,
)

COHERE = Provider(
    "Cohere",
    "https://api.cohere.ai/compatibility/v1",
    (
        Case(
            "takes 96 texts in one embedding request",
            "https://docs.cohere.com/reference/embed",
            (
                Rule(
                    texts_above(96),
                    error(
                        400,
                        {"message": "invalid request: total number of texts must be at most 96"},
                    ),
                ),
            ),
            Fills(more_requests=4),
            songs=52,
        ),
    ),
)

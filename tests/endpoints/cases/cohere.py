"""Cohere's OpenAI-compatible address: flat errors."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    carries,
    error,
    first,
    texts_above,
)

COHERE = Provider(
    "Cohere",
    "https://api.cohere.ai/compatibility/v1",
    (
        Case(
            "knows no such effort (422 in a flat form)",
            "https://docs.cohere.com/docs/compatibility-api",
            (
                Rule(
                    carries("reasoning_effort"),
                    error(422, {"id": "x", "message": "invalid request: only 'none' and 'high' are valid"}),
                ),
            ),
            Fills(more_requests=8),
        ),
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
        Case(
            "limits trial keys a minute (429)",
            "https://docs.cohere.com/docs/rate-limits",
            (
                Rule(
                    first(2),
                    error(
                        429,
                        {"message": "You are using a Trial key, which is limited to 20 API calls / minute."},
                    ),
                ),
            ),
            Fills(more_requests=2, warns="20 API calls / minute"),
        ),
    ),
)

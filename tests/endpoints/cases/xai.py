"""xAI (Grok): flat errors, whose message stands under `error`."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    carries,
    error,
)

XAI = Provider(
    "xAI (Grok)",
    "https://api.x.ai/v1",
    (
        Case(
            "does not know `reasoning_effort` for this model (400)",
            "https://docs.x.ai/docs/guides/reasoning",
            (
                Rule(
                    carries("reasoning_effort"),
                    error(
                        400,
                        {
                            "code": "Client specified an invalid argument",
                            "error": "Model grok does not support parameter reasoningEffort.",
                        },
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
    ),
)

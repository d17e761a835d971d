"""xAI (Grok): flat errors, whose message stands under `error`."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    carries,
    chat,
    error,
    unwelcome,
)

XAI = Provider(
    "xAI (Grok)",
    "https://api.x.ai/v1",
    (
        Case(
            "refuses one title (403 in a flat form)",
            "https://docs.x.ai/docs/key-information/debugging",
            (
                Rule(
                    unwelcome,
                    error(
                        403,
                        {
                            "code": "The caller does not have permission to execute the specified operation",
                            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_X.",
                        },
                    ),
                ),
            ),
            FailsAlone("Content violates usage guidelines"),
        ),
        Case(
            "has no credits left (429 in a flat form)",
            "https://docs.x.ai/docs/key-information/debugging",
            (
                Rule(
                    chat,
                    error(
                        429,
                        {
                            "code": "Some resource has been exhausted",
                            "error": "Your team has either used all available credits or reached its monthly "
                            "spending limit.",
                        },
                    ),
                ),
            ),
            Stops("used all available credits"),
        ),
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

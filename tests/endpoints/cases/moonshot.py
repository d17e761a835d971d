"""Moonshot (Kimi): quotas with codes of its own, and no embeddings."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Provider,
    Rule,
    Stops,
    chat,
    openai_error,
    unwelcome,
)

KIMI_ERRORS = "https://platform.moonshot.ai/docs/api/errors"


MOONSHOT = Provider(
    "Moonshot (Kimi)",
    "https://api.moonshot.ai/v1",
    (
        Case(
            "has no quota left (403 `exceeded_current_quota_error`)",
            "https://github.com/MoonshotAI/Kimi-K2/issues/5",
            (
                Rule(
                    chat,
                    openai_error(
                        403,
                        "Your account is not active, organization exceeded current quota",
                        "exceeded_current_quota_error",
                    ),
                ),
            ),
            Stops("organization exceeded current quota"),
        ),
        Case(
            "refuses one title (400 `content_filter`)",
            KIMI_ERRORS,
            (
                Rule(
                    unwelcome,
                    openai_error(
                        400, "The request was rejected because it was considered high risk", "content_filter"
                    ),
                ),
            ),
            FailsAlone("considered high risk", ("content_filter",)),
        ),
    ),
    notes="It has no embeddings: put a gateway before it and a provider that has some.",
)

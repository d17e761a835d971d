"""Moonshot (Kimi): quotas with codes of its own, and no embeddings."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    chat,
    first,
    openai_error,
    unwelcome,
)

KIMI_ERRORS = "https://platform.moonshot.ai/docs/api/errors"


MOONSHOT = Provider(
    "Moonshot (Kimi)",
    "https://api.moonshot.ai/v1",
    (
        Case(
            "has no quota left (429 `exceeded_current_quota_error`)",
            KIMI_ERRORS,
            (
                Rule(
                    chat,
                    openai_error(
                        429,
                        "Your account org-x is suspended, please check your plan and billing details",
                        "exceeded_current_quota_error",
                    ),
                ),
            ),
            Stops("is suspended, please check your plan"),
        ),
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
            "is overloaded now and then (429 `engine_overloaded_error`)",
            KIMI_ERRORS,
            (
                Rule(
                    first(2),
                    openai_error(
                        429,
                        "The engine is currently overloaded, please try again later",
                        "engine_overloaded_error",
                    ),
                ),
            ),
            Fills(more_requests=2, warns="The engine is currently overloaded"),
        ),
        Case(
            "takes one request at a time (429 `rate_limit_reached_error`)",
            KIMI_ERRORS,
            (
                Rule(
                    first(2),
                    openai_error(
                        429,
                        "Your account org-x request reached max organization concurrency: 1, please try "
                        "again after 1 seconds",
                        "rate_limit_reached_error",
                    ),
                ),
            ),
            Fills(more_requests=2, warns="max organization concurrency: 1"),
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

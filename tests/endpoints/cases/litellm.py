"""LiteLLM's proxy: errors of the providers behind it in its own words, and budgets of its own."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    after,
    always,
    carries,
    error,
    first,
    openai_error,
    unwelcome,
)

LITELLM = Provider(
    "LiteLLM's proxy",
    "http://localhost:4000",
    (
        Case(
            "does not map `reasoning_effort` to the model behind it (400)",
            "https://docs.litellm.ai/docs/completion/drop_params",
            (
                Rule(
                    carries("reasoning_effort"),
                    openai_error(
                        400,
                        "litellm.UnsupportedParamsError: the provider does not support what was given. To "
                        "drop it, set `litellm.drop_params=True`.",
                        code="400",
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "has spent its budget before the run (400 `budget_exceeded`)",
            "https://docs.litellm.ai/docs/proxy/users",
            (
                Rule(
                    always,
                    openai_error(
                        400,
                        "Budget has been exceeded! Current cost: 10.02, Max budget: 10.0",
                        "budget_exceeded",
                        "400",
                    ),
                ),
            ),
            Stops("Budget has been exceeded"),
        ),
        Case(
            "has spent its budget in the middle of a run (400 `budget_exceeded`)",
            "https://docs.litellm.ai/docs/proxy/users",
            (
                Rule(
                    after(3),
                    openai_error(
                        400,
                        "Budget has been exceeded! Current cost: 10.02, Max budget: 10.0",
                        "budget_exceeded",
                        "400",
                    ),
                ),
            ),
            Stops("Budget has been exceeded", requests=50),
            songs=40,
        ),
        Case(
            "cools its only deployment down (429)",
            "https://docs.litellm.ai/docs/routing",
            (
                Rule(
                    first(2),
                    openai_error(
                        429,
                        "No deployments available for selected model, Try again in 1 seconds.",
                        "None",
                        "429",
                    ),
                ),
            ),
            Fills(more_requests=2, warns="No deployments available"),
        ),
        Case(
            "passes a content filter on (400 `ContentPolicyViolationError`)",
            "https://github.com/BerriAI/litellm/pull/16231",
            (
                Rule(
                    unwelcome,
                    error(
                        400,
                        {
                            "error": {
                                "message": "litellm.ContentPolicyViolationError: the response was filtered",
                                "type": None,
                                "param": None,
                                "code": "400",
                                "provider_specific_fields": {
                                    "innererror": {"code": "ResponsibleAIPolicyViolation"}
                                },
                            }
                        },
                    ),
                ),
            ),
            FailsAlone("the response was filtered"),
        ),
        Case(
            "refuses its own key (401)",
            "https://docs.litellm.ai/docs/proxy/virtual_keys",
            (
                Rule(
                    always,
                    openai_error(
                        401, "Authentication Error, Invalid proxy server token passed.", "auth_error", "401"
                    ),
                ),
            ),
            Stops("Invalid proxy server token", requests=3),
        ),
    ),
    real="LiteLLM 1.108's own proxy, installed from its package, stands before the stand-in, and a range is "
    "filled through it: `tests/endpoints/test_litellm.py`, with `-m proxies`.",
)

"""OpenAI's own API, the only one that all others are measured by."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    always,
    carries,
    changed,
    chat,
    embeddings,
    error,
    first,
    message_changed,
    openai_error,
    texts_above,
    unwelcome,
)

ERROR_CODES = "https://platform.openai.com/docs/guides/error-codes"
REFUSALS = "https://platform.openai.com/docs/guides/structured-outputs#refusals"

OPENAI = Provider(
    "OpenAI",
    "",
    (
        Case(
            "knows no effort `none` for this model",
            "https://platform.openai.com/docs/guides/reasoning",
            (
                Rule(
                    carries("reasoning_effort"),
                    openai_error(
                        400,
                        "Unsupported value: 'none' is no reasoning effort of this model. It takes 'minimal', "
                        "'low', 'medium' and 'high'.",
                        code="unsupported_value",
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "refuses the key (401)",
            ERROR_CODES,
            (
                Rule(
                    always,
                    openai_error(401, "Incorrect API key provided: sk-no*****ey.", code="invalid_api_key"),
                ),
            ),
            Stops("Incorrect API key provided", requests=3),
        ),
        Case(
            "has no quota left (429 `insufficient_quota`)",
            ERROR_CODES,
            (
                Rule(
                    chat,
                    openai_error(
                        429,
                        "You exceeded your current quota, please check your plan and billing details.",
                        "insufficient_quota",
                        "insufficient_quota",
                    ),
                ),
            ),
            Stops("You exceeded your current quota"),
        ),
        Case(
            "reached the hard limit of its bill (400 `billing_hard_limit_reached`)",
            "https://community.openai.com/t/billing-hard-limit-has-been-reached/",
            (
                Rule(
                    always,
                    openai_error(
                        400, "Billing hard limit has been reached.", code="billing_hard_limit_reached"
                    ),
                ),
            ),
            Stops("Billing hard limit has been reached"),
        ),
        Case(
            "reaches its rate limit (429 with `retry-after-ms`)",
            "https://platform.openai.com/docs/guides/rate-limits",
            (
                Rule(
                    first(2),
                    openai_error(
                        429,
                        "Rate limit reached for gpt-6-luna in organization org-x on requests per min (RPM): "
                        "Limit 3, Used 3, Requested 1. Please try again in 20ms.",
                        "requests",
                        "rate_limit_exceeded",
                        retry_after_ms="20",
                        x_ratelimit_limit_requests="500",
                        x_ratelimit_remaining_requests="0",
                        x_ratelimit_reset_requests="20ms",
                    ),
                ),
            ),
            Fills(more_requests=2, warns="Limit 3, Used 3"),
        ),
        Case(
            "does not know the model (404 `model_not_found`)",
            ERROR_CODES,
            (
                Rule(
                    chat,
                    openai_error(
                        404,
                        "The model `gpt-6-lunar` does not exist or you do not have access to it.",
                        code="model_not_found",
                    ),
                ),
            ),
            Stops("The model `gpt-6-lunar` does not exist"),
        ),
        Case(
            "does not serve this country (403 `unsupported_country_region_territory`)",
            ERROR_CODES,
            (
                Rule(
                    always,
                    openai_error(
                        403,
                        "Country, region, or territory not supported",
                        "request_forbidden",
                        "unsupported_country_region_territory",
                    ),
                ),
            ),
            Stops("Country, region, or territory not supported"),
        ),
        Case(
            "refuses one title (400 `content_policy_violation`)",
            ERROR_CODES,
            (
                Rule(
                    unwelcome,
                    openai_error(
                        400,
                        "Your request was rejected as a result of our safety system.",
                        code="content_policy_violation",
                    ),
                ),
            ),
            FailsAlone("rejected as a result of our safety system"),
        ),
        Case(
            "refuses one title in words (`message.refusal`)",
            REFUSALS,
            (
                Rule(
                    unwelcome,
                    message_changed(
                        lambda message: message.update(
                            content=None, refusal="I'm sorry, I cannot assist with that request."
                        )
                    ),
                ),
            ),
            FailsAlone("I cannot assist with that", ("refused",)),
        ),
        Case(
            "cuts the answer about one title (`finish_reason: content_filter`)",
            "https://platform.openai.com/docs/api-reference/chat/object",
            (
                Rule(
                    unwelcome,
                    changed(
                        lambda body: body["choices"][0].update(
                            finish_reason="content_filter", message={"role": "assistant", "content": ""}
                        )
                    ),
                ),
            ),
            FailsAlone("content filter", ("content_filter",)),
        ),
        Case(
            "fails now and then (500, 503)",
            ERROR_CODES,
            (
                Rule(first(1), openai_error(500, "The server had an error.", "server_error")),
                Rule(first(2), openai_error(503, "The engine is currently overloaded.", "server_error")),
            ),
            Fills(more_requests=2),
        ),
        Case(
            "takes so many tokens in one embedding request",
            "https://platform.openai.com/docs/api-reference/embeddings/create",
            (
                Rule(
                    texts_above(16),
                    openai_error(
                        400,
                        "Requested 301244 tokens, max 300000 tokens per request",
                        "max_tokens_per_request",
                    ),
                ),
            ),
            Fills(more_requests=4),
        ),
        Case(
            "does not know the embedding model",
            ERROR_CODES,
            (
                Rule(
                    embeddings,
                    error(
                        403,
                        {
                            "error": {
                                "message": "Project `x` does not have access to model `text-embedding-3`",
                                "type": "invalid_request_error",
                                "param": None,
                                "code": "model_not_found",
                            }
                        },
                    ),
                ),
            ),
            Stops("does not have access to model", requests=3),
        ),
    ),
)

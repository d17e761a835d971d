"""Groq: fast, with limits a day, answers validated by the server, and no embeddings."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    always,
    carries,
    chat,
    embeddings,
    error,
    first,
    json_schema,
    message_changed,
    openai_error,
    songs_above,
    unwelcome,
)

RATE_LIMITS = "https://console.groq.com/docs/rate-limits"
ERRORS = "https://console.groq.com/docs/errors"

GROQ = Provider(
    "Groq",
    "https://api.groq.com/openai/v1",
    (
        Case(
            "has no tokens left today (429 with `retry-after: 27072`)",
            "https://github.com/continuedev/continue/issues/10920",
            (
                Rule(
                    chat,
                    openai_error(
                        429,
                        "Rate limit reached for model `llama-70b` in organization `org_x` service tier "
                        "`on_demand` on tokens per day (TPD): Limit 100000, Used 99871, Requested 3619. "
                        "Please try again in 7h31m12s.",
                        "tokens",
                        "rate_limit_exceeded",
                        retry_after="27072",
                    ),
                ),
            ),
            Stops("tokens per day (TPD): Limit 100000"),
        ),
        Case(
            "has no tokens left this minute (429 with `retry-after: 1`)",
            RATE_LIMITS,
            (
                Rule(
                    first(1),
                    openai_error(
                        429,
                        "Rate limit reached for model `llama-8b` on tokens per minute (TPM): Limit 60000, "
                        "Used 5034, Requested 1443. Please try again in 870ms.",
                        "tokens",
                        "rate_limit_exceeded",
                        retry_after="1",
                        x_ratelimit_limit_requests="14400",
                        x_ratelimit_limit_tokens="60000",
                        x_ratelimit_remaining_requests="14370",
                        x_ratelimit_remaining_tokens="966",
                        x_ratelimit_reset_requests="2m59.56s",
                        x_ratelimit_reset_tokens="7.66s",
                    ),
                ),
            ),
            Fills(more_requests=3, warns="tokens per minute (TPM): Limit 60000"),
        ),
        Case(
            "finds no valid JSON in the model's answer about one title (400 `json_validate_failed`)",
            "https://github.com/thepersonalaicompany/amurex-backend/issues/38",
            (
                Rule(
                    unwelcome,
                    error(
                        400,
                        {
                            "error": {
                                "message": "The model did not generate valid JSON. See 'failed_generation'.",
                                "type": "invalid_request_error",
                                "code": "json_validate_failed",
                                "failed_generation": '{"songs": {"1": ',
                            }
                        },
                    ),
                ),
            ),
            FailsAlone("did not generate valid JSON"),
        ),
        Case(
            "has models without `json_schema` (400)",
            "https://console.groq.com/docs/structured-outputs",
            (
                Rule(
                    json_schema,
                    openai_error(400, "This model does not support response format `json_schema`."),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "knows no effort `none` for this model (400)",
            "https://console.groq.com/docs/reasoning",
            (
                Rule(
                    carries("reasoning_effort"),
                    openai_error(400, "`reasoning_effort` must be one of `low`, `medium`, or `high`"),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "finds packs too large for its tokens a minute (413)",
            "https://github.com/elizaOS/eliza/issues/4040",
            (
                Rule(
                    songs_above(1),
                    openai_error(
                        413,
                        "Request too large for model `llama-8b` on tokens per minute (TPM): Limit 600, "
                        "Requested 1294, please reduce your message size and try again.",
                        "tokens",
                        "rate_limit_exceeded",
                    ),
                ),
            ),
            Fills(more_requests=20),
        ),
        Case(
            "puts thoughts beside the answer (`message.reasoning`)",
            "https://console.groq.com/docs/reasoning",
            (
                Rule(
                    chat,
                    message_changed(
                        lambda message: message.update(reasoning='First {"songs": {"1": {}}} … no.')
                    ),
                ),
            ),
            Fills(),
        ),
        Case(
            "has no embeddings (404 `unknown_url`)",
            ERRORS,
            (
                Rule(
                    embeddings,
                    openai_error(404, "Unknown request URL: POST /openai/v1/embeddings.", code="unknown_url"),
                ),
            ),
            Stops("Unknown request URL", requests=3),
        ),
        Case(
            "has restricted the organization (400)",
            ERRORS,
            (
                Rule(
                    always,
                    openai_error(
                        400,
                        "Organization has been restricted. Please reach out to support.",
                        code="organization_restricted",
                    ),
                ),
            ),
            Stops("Organization has been restricted"),
        ),
    ),
    notes="It has no embeddings: put a gateway before it and a provider that has some.",
)

"""Cerebras: flat errors, and few keywords of a schema."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    error,
    first,
    json_schema,
)

CEREBRAS = Provider(
    "Cerebras",
    "https://api.cerebras.ai/v1",
    (
        Case(
            "does not take `$defs` in a schema (400 in a flat form)",
            "https://inference-docs.cerebras.ai/capabilities/structured-outputs",
            (
                Rule(
                    json_schema,
                    error(
                        400,
                        {
                            "message": "Unsupported fields: {'$defs'}",
                            "type": "invalid_request_error",
                            "param": "response_format",
                            "code": "wrong_api_format",
                        },
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "has a queue that is full (429 `queue_exceeded`)",
            "https://inference-docs.cerebras.ai/support/error",
            (
                Rule(
                    first(2),
                    error(
                        429,
                        {
                            "message": "We're experiencing high traffic right now! Please try again soon.",
                            "type": "too_many_requests_error",
                            "param": "queue",
                            "code": "queue_exceeded",
                        },
                    ),
                ),
            ),
            Fills(more_requests=2, warns="experiencing high traffic"),
        ),
    ),
)

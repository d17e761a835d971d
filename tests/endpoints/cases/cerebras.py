"""Cerebras: flat errors, and few keywords of a schema."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    error,
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
    ),
)

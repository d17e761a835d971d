"""DeepSeek: a balance of its own, thoughts in a field of their own, and no embeddings."""

from typing import Any

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Request,
    Rule,
    Stops,
    chat,
    embeddings,
    error,
    first,
    json_schema,
    message_changed,
    openai_error,
    unwelcome,
)
from tests.support.scripted_endpoint import Answer

ERRORS = "https://api-docs.deepseek.com/quick_start/error_codes"


def _only_thoughts(message: dict[str, Any]) -> None:
    message.update(content="", reasoning_content=f"Let me write it down.\n{message['content']}")


def _after_blank_lines(request: Request, body: dict[str, Any]) -> Answer:
    whole = error(200, body)
    return Answer(b"\n" * 40 + whole.body)


DEEPSEEK = Provider(
    "DeepSeek",
    "https://api.deepseek.com/v1",
    (
        Case(
            "has no balance left (402)",
            "https://github.com/continuedev/continue/issues/10121",
            (
                Rule(
                    chat, openai_error(402, "Insufficient Balance", "unknown_error", "invalid_request_error")
                ),
            ),
            Stops("Insufficient Balance", requests=8),
        ),
        Case(
            "writes the answer into `reasoning_content` alone",
            "https://api-docs.deepseek.com/guides/reasoning_model",
            (Rule(chat, message_changed(_only_thoughts)),),
            Fills(),
        ),
        Case(
            "sends an empty content now and then",
            "https://api-docs.deepseek.com/guides/json_mode",
            (Rule(first(1), message_changed(lambda message: message.update(content=""))),),
            Fills(more_requests=5),
        ),
        Case(
            "does not know `json_schema` (400)",
            "https://api-docs.deepseek.com/guides/json_mode",
            (
                Rule(
                    json_schema,
                    openai_error(
                        400, "This response_format type is unavailable now", code="invalid_request_error"
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "sends blank lines until the answer is ready",
            "https://api-docs.deepseek.com/quick_start/rate_limit",
            (Rule(chat, _after_blank_lines),),
            Fills(),
        ),
        Case(
            'refuses one title (400 "Content Exists Risk")',
            "https://github.com/deepseek-ai/DeepSeek-V3/issues/",
            (Rule(unwelcome, openai_error(400, "Content Exists Risk", code="invalid_request_error")),),
            FailsAlone("Content Exists Risk"),
        ),
        Case(
            "is overloaded now and then (503)",
            ERRORS,
            (Rule(first(2), openai_error(503, "Server overloaded", "service_unavailable_error")),),
            Fills(more_requests=2),
        ),
        Case(
            "has no embeddings (404 without a body)",
            ERRORS,
            (Rule(embeddings, Answer(b"", 404)),),
            Stops("404", requests=3),
        ),
    ),
    notes="It has no embeddings: put a gateway before it and a provider that has some.",
)

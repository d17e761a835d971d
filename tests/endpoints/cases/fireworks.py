"""Fireworks, a host of open models."""

import json
from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    always,
    chat,
    error,
    json_schema,
    message_changed,
)

DRAFTS = [
    {
        "emotions_text": f"draft feelings {number}",
        "emotions_confidence": "low",
        "moments_text": f"draft moments {number}",
        "moments_confidence": "low",
    }
    for number in range(1, 5)
]


def _thought_before_answer(message: dict[str, Any]) -> None:
    draft = json.dumps({"songs": {str(key): entry for key, entry in enumerate(DRAFTS, 1)}})
    message["content"] = f"<think>\nA first draft:\n{draft}\nToo plain.\n</think>\n\n{message['content']}"


FIREWORKS = Provider(
    "Fireworks",
    "https://api.fireworks.ai/inference/v1",
    (
        Case(
            "puts a draft into `<think>` before the answer",
            "https://docs.fireworks.ai/guides/reasoning",
            (Rule(chat, message_changed(_thought_before_answer)),),
            Fills(),
        ),
        Case(
            "has suspended the account (412)",
            "https://docs.fireworks.ai/faq-new/billing-pricing/why-is-my-account-suspended",
            (
                Rule(
                    always,
                    error(
                        412,
                        {
                            "error": {
                                "object": "error",
                                "type": "PRECONDITION_FAILED",
                                "message": "Account x is suspended, possibly due to reaching the monthly "
                                "spending limit.",
                            }
                        },
                    ),
                ),
            ),
            Stops("reaching the monthly spending limit"),
        ),
        Case(
            "says an error in one flat text (400)",
            "https://docs.fireworks.ai/structured-responses/structured-response-formatting",
            (Rule(json_schema, error(400, {"error": "could not compile what was given as a grammar"})),),
            Fills(more_requests=8),
        ),
    ),
)

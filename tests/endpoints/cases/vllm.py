"""vLLM, on the user's own machines: refusals come from chat templates, grammars and validation."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    chat,
    error,
    message_changed,
    songs_above,
)
from tests.support.scripted_endpoint import Answer


def vllm_error(status: int, message: object, kind: str = "BadRequestError") -> Answer:
    """The flat form of an error that vLLM had for long."""
    return error(status, {"object": "error", "message": message, "type": kind, "param": None, "code": status})


def _into(name: str) -> Any:
    def change(message: dict[str, Any]) -> None:
        message.update({"content": "", name: message["content"]})

    return message_changed(change)


VLLM = Provider(
    "vLLM",
    "http://localhost:8000/v1",
    (
        Case(
            "has a context that is too short for packs (400)",
            "https://docs.vllm.ai/en/latest/configuration/engine_args.html",
            (
                Rule(
                    songs_above(1),
                    vllm_error(
                        400, "This model's maximum context length is 1024 tokens. You requested 1500."
                    ),
                ),
            ),
            Fills(more_requests=24),
        ),
        Case(
            "parses the whole answer as a thought (`reasoning_content`)",
            "https://docs.vllm.ai/en/latest/features/reasoning_outputs.html",
            (Rule(chat, _into("reasoning_content")),),
            Fills(),
        ),
        Case(
            "serves another model (404)",
            "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
            (Rule(chat, vllm_error(404, "The model `luna` does not exist.", "NotFoundError")),),
            Stops("The model `luna` does not exist"),
        ),
    ),
)

"""vLLM, on the user's own machines: refusals come from chat templates, grammars and validation."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Request,
    Rule,
    Stops,
    carries,
    chat,
    error,
    json_schema,
    message_changed,
    songs_above,
    system_message,
)
from tests.support.scripted_endpoint import Answer


def vllm_error(status: int, message: object, kind: str = "BadRequestError") -> Answer:
    """The flat form of an error that vLLM had for long."""
    return error(status, {"object": "error", "message": message, "type": kind, "param": None, "code": status})


def _into(name: str) -> Any:
    def change(message: dict[str, Any]) -> None:
        message.update({"content": "", name: message["content"]})

    return message_changed(change)


def _not_one_user_message(request: Request) -> bool:
    return [message["role"] for message in request.body.get("messages", ())] not in ([], ["user"])


VLLM = Provider(
    "vLLM",
    "http://localhost:8000/v1",
    (
        Case(
            'encodes no vectors (400 "base64 encoding is not currently supported")',
            "https://github.com/vllm-project/vllm/issues/6174",
            (
                Rule(
                    carries("encoding_format"),
                    vllm_error(400, "base64 encoding is not currently supported"),
                ),
            ),
            Fills(more_requests=3),
        ),
        Case(
            "has a chat template without a system role (400)",
            "https://github.com/vllm-project/vllm/pull/2964",
            (Rule(system_message, vllm_error(400, "System role not supported")),),
            Fills(more_requests=10),
        ),
        Case(
            "has a chat template in which roles must alternate (400)",
            "https://github.com/huggingface/chat-ui/issues/1263",
            (
                Rule(
                    _not_one_user_message,
                    vllm_error(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
                ),
            ),
            Fills(more_requests=10),
        ),
        Case(
            "has a grammar compiler that does not know every schema (400)",
            "https://docs.vllm.ai/en/latest/features/structured_outputs.html",
            (
                Rule(
                    json_schema,
                    vllm_error(400, "The provided document contains features not supported by xgrammar."),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "says in a list what it does not take (400)",
            "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
            (
                Rule(
                    carries("reasoning_effort"),
                    vllm_error(
                        400,
                        [
                            {
                                "type": "literal_error",
                                "loc": ["body", "effort"],
                                "msg": "Input should be 'low', 'medium' or 'high'",
                            }
                        ],
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "knows `max_tokens` alone (400)",
            "https://docs.vllm.ai/en/v0.6.0/serving/openai_compatible_server.html",
            (
                Rule(
                    carries("max_completion_tokens"),
                    vllm_error(400, "[{'type': 'extra_forbidden', 'msg': 'Extra inputs are not permitted'}]"),
                ),
            ),
            Fills(more_requests=10),
        ),
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

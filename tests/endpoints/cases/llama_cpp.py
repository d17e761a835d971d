"""llama.cpp's server, on the user's own machine."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    changed,
    embeddings,
    error,
    first,
    json_schema,
    system_message,
    texts_above,
)


def _indexes(index: Any) -> Any:
    def change(body: dict[str, Any]) -> None:
        for position, item in enumerate(body["data"]):
            item["index"] = index(position)

    return changed(change)


LLAMA_CPP = Provider(
    "llama.cpp's server",
    "http://localhost:8080/v1",
    (
        Case(
            "cannot parse the grammar of a schema (400)",
            "https://github.com/flagdizero/jenny-android-ai-agent/issues/2",
            (
                Rule(
                    json_schema,
                    error(
                        400,
                        {
                            "error": {
                                "code": 400,
                                "message": "Failed to initialize samplers: failed to parse grammar",
                                "type": "invalid_request_error",
                            }
                        },
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "cannot parse the grammar of a schema (500)",
            "https://github.com/ggml-org/llama.cpp/issues/19051",
            (
                Rule(
                    json_schema,
                    error(
                        500,
                        {
                            "error": {
                                "code": 500,
                                "message": "failed to parse grammar",
                                "type": "server_error",
                            }
                        },
                    ),
                ),
            ),
            Fills(more_requests=24),
        ),
        Case(
            "has a chat template that raises an exception at a system role (500)",
            "https://github.com/sgl-project/sglang/issues/892",
            (
                Rule(
                    system_message,
                    error(
                        500,
                        {
                            "error": {
                                "code": 500,
                                "message": "System role not supported at row 1",
                                "type": "server_error",
                            }
                        },
                    ),
                ),
            ),
            Fills(more_requests=30),
        ),
        Case(
            "is loading its model (503)",
            "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
            (
                Rule(
                    first(3),
                    error(
                        503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
                    ),
                ),
            ),
            Fills(more_requests=3),
        ),
        Case(
            "was started without embeddings (501)",
            "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
            (
                Rule(
                    embeddings,
                    error(
                        501,
                        {
                            "error": {
                                "code": 501,
                                "message": "No support of embeddings. Start the server with `--embeddings`",
                                "type": "not_supported_error",
                            }
                        },
                    ),
                ),
            ),
            Stops("Start the server with `--embeddings`"),
        ),
        Case(
            "has a batch that is too small for many texts (500)",
            "https://github.com/ggml-org/llama.cpp/discussions/",
            (
                Rule(
                    texts_above(6),
                    error(
                        500,
                        {
                            "error": {
                                "code": 500,
                                "message": "input is too large to process. increase the physical batch size",
                                "type": "server_error",
                            }
                        },
                    ),
                ),
            ),
            Fills(more_requests=24),
        ),
        Case(
            "numbers every vector 0",
            "https://github.com/abetlen/llama-cpp-python/pull/2206",
            (Rule(embeddings, _indexes(lambda position: 0)),),
            Fills(),
        ),
    ),
)

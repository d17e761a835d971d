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

"""llama.cpp's server, on the user's own machine."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    embeddings,
    error,
    first,
)

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
    ),
)

"""Hugging Face's Text Embeddings Inference: embeddings alone, few texts in one request."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    changed,
    embeddings,
    error,
    texts_above,
)


def _no_indexes(body: dict[str, Any]) -> None:
    for item in body["data"]:
        del item["index"]


TEI = Provider(
    "Text Embeddings Inference",
    "http://localhost:8080/v1",
    (
        Case(
            "takes 32 texts in one request (422)",
            "https://huggingface.co/docs/text-embeddings-inference/cli_arguments",
            (
                Rule(
                    texts_above(32),
                    error(
                        422,
                        {
                            "error": "batch size 80 > maximum allowed batch size 32",
                            "error_type": "Validation",
                        },
                    ),
                ),
            ),
            Fills(more_requests=6),
            songs=40,
        ),
        Case(
            "takes 32 texts in one request (413)",
            "https://huggingface.co/docs/text-embeddings-inference/cli_arguments",
            (
                Rule(
                    texts_above(32),
                    error(
                        413,
                        {
                            "message": "batch size 80 > maximum allowed batch size 32",
                            "code": 413,
                            "type": "Validation",
                        },
                    ),
                ),
            ),
            Fills(more_requests=6),
            songs=40,
        ),
        Case(
            "is overloaded by many texts (429)",
            "https://huggingface.co/docs/text-embeddings-inference/cli_arguments",
            (
                Rule(
                    texts_above(12),
                    error(429, {"error": "Model is overloaded", "error_type": "Overloaded"}),
                ),
            ),
            Fills(more_requests=12),
        ),
        Case(
            "sends vectors without an index",
            "https://github.com/huggingface/text-embeddings-inference/issues/288",
            (Rule(embeddings, changed(_no_indexes)),),
            Fills(),
        ),
    ),
    notes="It has no chat: put a gateway before it and a provider that has one.",
)

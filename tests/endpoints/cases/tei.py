"""Hugging Face's Text Embeddings Inference: embeddings alone, few texts in one request."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    error,
    texts_above,
)

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
    ),
    notes="It has no chat: put a gateway before it and a provider that has one.",
)

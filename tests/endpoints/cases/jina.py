"""Jina and Voyage: embeddings alone."""

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    error,
    texts_above,
)

JINA = Provider(
    "Jina, Voyage",
    "https://api.jina.ai/v1",
    (
        Case(
            "takes so many tokens in one request (400 with a text `detail`)",
            "https://docs.voyageai.com/reference/embeddings-api",
            (
                Rule(
                    texts_above(10),
                    error(400, {"detail": "The max allowed tokens per submitted batch is 120000."}),
                ),
            ),
            Fills(more_requests=7),
        ),
    ),
    notes="They have no chat: put a gateway before them and a provider that has one.",
)

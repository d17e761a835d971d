"""Jina and Voyage: embeddings alone."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    carries,
    changed,
    embeddings,
    error,
    texts_above,
)


def _floats_as_indexes(body: dict[str, Any]) -> None:
    for item in body["data"]:
        item["index"] = float(item["index"])


def _null_indexes(body: dict[str, Any]) -> None:
    for item in body["data"]:
        item["index"] = None


JINA = Provider(
    "Jina, Voyage",
    "https://api.jina.ai/v1",
    (
        Case(
            "forbids `encoding_format` (422 with a list `detail`)",
            "https://api.jina.ai/redoc",
            (
                Rule(
                    carries("encoding_format"),
                    error(
                        422,
                        {
                            "detail": [
                                {
                                    "type": "extra_forbidden",
                                    "loc": ["body"],
                                    "msg": "Extra inputs are not permitted",
                                }
                            ]
                        },
                    ),
                ),
            ),
            Fills(more_requests=3),
        ),
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
        Case(
            "numbers its vectors with floats",
            "https://api.jina.ai/redoc",
            (Rule(embeddings, changed(_floats_as_indexes)),),
            Fills(),
        ),
        Case(
            "numbers its vectors with null",
            "https://docs.voyageai.com/reference/embeddings-api",
            (Rule(embeddings, changed(_null_indexes)),),
            Fills(),
        ),
    ),
    notes="They have no chat: put a gateway before them and a provider that has one.",
)

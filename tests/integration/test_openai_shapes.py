"""What we send and what the stand-in answers, against the shapes of OpenAI's own OpenAPI document.

Every request of the table of cases (tests/endpoints) is held against them as well.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.packs import Pack
from aboutness_assets.generation.prompt import chat_messages, max_completion_tokens, response_format
from aboutness_assets.provider.chat_form import JSON_OBJECT_FORMAT
from aboutness_local.exchange import decoded
from tests.support.openai_shapes import errors_of, needs_shapes
from tests.support.stand_in import StandIn

pytestmark = needs_shapes

PACK = Pack((Song(1, "Imagine", "John Lennon"), Song(2, "Thriller", "Michael Jackson")))


def chat_request(**more: Any) -> dict[str, Any]:
    return {
        "model": "gpt-6-luna",
        "messages": chat_messages(PACK),
        "response_format": response_format(PACK),
        "max_completion_tokens": max_completion_tokens(PACK),
        "reasoning_effort": "none",
        **more,
    }


def post(stand_in: StandIn, path: str, body: object, key: str = "any") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        stand_in.base_url + path,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_document_of_another_shape_is_seen() -> None:
    assert errors_of("CreateChatCompletionRequest", chat_request()) == []
    assert errors_of("CreateChatCompletionRequest", chat_request(messages=[])) != []
    assert errors_of("CreateChatCompletionRequest", chat_request(reasoning_effort="some")) != []
    assert errors_of("CreateEmbeddingRequest", {"model": "m", "input": ["a"], "encoding": "base64"}) != []


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"service_tier": "flex"},
        {"response_format": JSON_OBJECT_FORMAT},
        {"max_completion_tokens": 5},
        {"messages": [chat_messages(PACK)[-1]]},
    ],
)
def test_the_stand_in_answers_a_chat_request_as_openai_does(stand_in: StandIn, more: dict[str, Any]) -> None:
    request = chat_request(**more)

    status, answer = post(stand_in, "/chat/completions", request)

    assert status == 200
    assert errors_of("CreateChatCompletionRequest", request) == []
    assert errors_of("CreateChatCompletionResponse", answer) == []


@pytest.mark.parametrize("encoding_format", ["base64", "float"])
def test_the_stand_in_answers_an_embedding_request_as_openai_does(
    stand_in: StandIn, encoding_format: str
) -> None:
    request = {"model": "m", "input": ["a", "b"], "encoding_format": encoding_format, "dimensions": 16}

    status, answer = post(stand_in, "/embeddings", request)

    # The document describes vectors of numbers alone.
    for item in answer["data"]:
        item["embedding"] = decoded(item["embedding"]).tolist()
    assert status == 200
    assert errors_of("CreateEmbeddingRequest", request) == []
    assert errors_of("CreateEmbeddingResponse", answer) == []


@pytest.mark.parametrize(
    ("path", "request_body", "key", "status"),
    [
        ("/chat/completions", chat_request(), "wrong", 401),
        ("/chat/completions", chat_request(model="missing-model"), "any", 404),
        ("/chat/completions", chat_request(messages=[{"role": "user", "content": "hello"}]), "any", 400),
        ("/embeddings", {"model": "m", "input": []}, "any", 400),
    ],
)
def test_the_stand_in_states_errors_as_openai_does(
    stand_in: StandIn, path: str, request_body: dict[str, Any], key: str, status: int
) -> None:
    found, answer = post(stand_in, path, request_body, key)

    assert found == status
    assert errors_of("ErrorResponse", answer) == []


@pytest.mark.parametrize("fault", ["refusal", "content_filter", "http_429", "http_500", "insufficient_quota"])
def test_what_a_fault_of_the_stand_in_answers_is_still_openais_form(stand_in: StandIn, fault: str) -> None:
    stand_in.control({"chat": {"script": [fault]}})

    status, answer = post(stand_in, "/chat/completions", chat_request())

    shape = "CreateChatCompletionResponse" if status == 200 else "ErrorResponse"
    assert errors_of(shape, answer) == []

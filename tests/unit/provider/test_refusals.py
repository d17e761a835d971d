"""What an error that the provider answers means, and whether it may have been billed."""

import json
import logging
import traceback
from typing import Any

import pytest

from aboutness_assets.domain.errors import (
    ContentFiltered,
    FatalError,
    ProviderUnavailable,
    RequestRefused,
)
from aboutness_assets.provider.refusals import MAX_MESSAGE_CHARACTERS, ProviderError, may_be_billed
from aboutness_assets.provider.transport import Reply
from tests.support.provider_clients import KEY, Clients, open_clients
from tests.support.scripted_endpoint import Answer, ScriptedEndpoint, answer_json, error

STATED = b'{"error": {"message": "overloaded"}}'
PAGE = b"<html><h1>Bad Gateway</h1></html>"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(401, f"Incorrect API key provided: {KEY}."), "OPENAI_API_KEY"),
        (error(403, "Country not supported"), "Country not supported"),
        (error(402, "pay first"), "no quota"),
        (error(429, "You exceeded your quota", code="insufficient_quota"), "no quota"),
        (error(429, "You exceeded your quota", type="insufficient_quota"), "no quota"),
        (error(429, "Hard limit", code="billing_hard_limit_reached"), "no quota"),
        (error(404, "The model does not exist"), "127.0.0.1.*'gpt-test'.*ABOUTNESS_CHAT_MODEL"),
        (error(400, "no such model", code="model_not_found"), "'gpt-test'.*ABOUTNESS_CHAT_MODEL"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_what_no_song_can_survive_is_fatal_at_once_and_not_billed(
    endpoint: ScriptedEndpoint, clients: Clients, answer: Answer, told: str
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(FatalError, match=told):
        await clients.chat()
    assert clients.attempts.ends == ["refused"]
    assert len(endpoint.requests) == 1


async def test_an_unknown_embedding_model_names_its_own_setting(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = error(404, "The model does not exist")
    with pytest.raises(FatalError, match=r"'embed-test'.*ABOUTNESS_EMBEDDING_MODEL"):
        await clients.embedding_client.embeddings(["a"], None, 1, clients.attempts)


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "Invalid value"),
        error(413, "Too big"),
        error(422, "Unprocessable"),
        Answer(b"no JSON at all", 400),
        error(429, "Request too large for gpt-test: Limit 1000, Requested 2000.", code="rate_limit_exceeded"),
    ],
    ids=lambda answer: str(answer.status),
)
async def test_a_refusal_of_this_very_request_is_neither_repeated_nor_billed(
    endpoint: ScriptedEndpoint, clients: Clients, answer: Answer
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(RequestRefused) as refusal:
        await clients.chat()
    assert not isinstance(refusal.value, ContentFiltered)
    assert clients.attempts.ends == ["refused"]
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "details",
    [
        {"code": "content_filter"},
        {"code": "content_policy_violation"},
        {"type": "content-filter"},
        {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    ],
    ids=repr,
)
async def test_a_refusal_by_the_content_filter_is_told_apart(
    endpoint: ScriptedEndpoint, clients: Clients, details: dict[str, Any]
) -> None:
    endpoint.otherwise = error(400, "not allowed", **details)
    with pytest.raises(ContentFiltered):
        await clients.chat()
    assert clients.attempts.ends == ["refused"]


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_no_error_holds_a_secret_or_is_endless(
    endpoint: ScriptedEndpoint, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "test")
    key = "no-usual-key"
    endpoint.otherwise = error(status, f"key {key}, sk-abc***def, Bearer xyzxyz; " + "long\n" * 500)
    async with open_clients(endpoint.base_url, api_key=key) as clients:
        with pytest.raises((RequestRefused, FatalError, ProviderUnavailable)) as raised:
            await clients.chat()
    told = str(raised.value)
    shown = "".join(traceback.format_exception(raised.value, chain=True)) + caplog.text
    for secret in (key, "sk-abc", "***def", "xyzxyz"):
        assert secret not in told + shown
    assert len(told) < 600
    assert "\n" not in told
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "in OpenAI's form"}}, "in OpenAI's form"),
        ({"error": "in one word"}, "in one word"),
        ({"message": "flat"}, "flat"),
        ({"detail": "as FastAPI says it"}, "as FastAPI says it"),
        ({"error": {"code": "x"}}, '{"error": {"code": "x"}}'),
        ({"error": {"message": "two\nlines\x1b[31m"}}, "two lines [31m"),
    ],
    ids=repr,
)
def test_the_message_is_found_in_every_usual_form(body: dict[str, Any], message: str) -> None:
    read = ProviderError.read(json.dumps(body).encode(), KEY)
    assert " ".join(read.message.replace("\\x1b", " ").split()) == message
    assert read.is_stated


@pytest.mark.parametrize("raw", [b"", PAGE, b"plain text", b"[1]", b"7", b"\xff\xfe"], ids=repr)
def test_what_is_no_json_object_states_no_error(raw: bytes) -> None:
    assert not ProviderError.read(raw, KEY).is_stated


def test_an_empty_body_gives_no_reason() -> None:
    assert ProviderError.read(b"", KEY).message == "no reason given"


def test_a_message_is_cut_and_its_text_for_searching_is_not() -> None:
    read = ProviderError.read(json.dumps({"error": {"message": "x" * 5000 + " end"}}).encode(), KEY)
    assert len(read.message) == MAX_MESSAGE_CHARACTERS
    assert " end" in read.text


@pytest.mark.parametrize(
    ("status", "body", "billed"),
    [
        (0, b"", True),  # a time-out, a broken connection
        (200, b"<html>Welcome</html>", True),  # an answer that cannot be read
        (200, STATED, True),
        (304, b"", True),
        (400, STATED, False),
        (400, PAGE, False),
        (401, STATED, False),
        (402, STATED, False),
        (403, PAGE, False),
        (404, STATED, False),
        (408, STATED, True),  # it says itself that it did not wait for the end
        (408, PAGE, True),
        (409, STATED, False),
        (413, PAGE, False),
        (422, STATED, False),
        (429, STATED, False),
        (429, PAGE, False),
        (500, STATED, False),
        (500, PAGE, True),
        (500, b"", True),
        (500, b"[1]", True),
        (501, STATED, False),
        (
            502,
            STATED,
            True,
        ),  # the gateway's own words, whatever their form: the server behind it said nothing
        (502, PAGE, True),
        (503, STATED, False),
        (503, PAGE, True),
        (504, STATED, True),
        (504, PAGE, True),
        (529, STATED, False),
        (529, PAGE, True),
    ],
)
def test_whether_a_request_without_a_usable_answer_may_be_billed(
    status: int, body: bytes, billed: bool
) -> None:
    error_stated = ProviderError.read(body, KEY) if status >= 400 else None
    assert may_be_billed(Reply(status, {}, body), error_stated) is billed


@pytest.mark.parametrize(
    "answer",
    [
        error(429, "Resource Unavailable"),
        error(429, "try later", code="resource_unavailable"),
        error(429, "try later", type="resource_unavailable"),
        answer_json({"message": "Resource unavailable"}, 429),
        Answer(b"Resource Unavailable", 429),
    ],
    ids=lambda answer: answer.body.decode(),
)
def test_no_capacity_is_told_by_words_code_or_type(answer: Answer) -> None:
    assert ProviderError.read(answer.body, KEY).is_no_capacity


@pytest.mark.parametrize("message", ["slow down", "Service Unavailable", "Resource exhausted"])
def test_other_troubles_are_not_taken_for_a_lack_of_capacity(message: str) -> None:
    assert not ProviderError.read(error(429, message).body, KEY).is_no_capacity

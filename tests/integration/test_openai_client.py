import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from aboutness_assets.provider.client import (
    MAX_ATTEMPTS,
    OpenAIClient,
    WireCounts,
    read_chat_body,
    read_embeddings_body,
)
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import (
    ContentFiltered,
    FatalError,
    ProviderUnavailable,
    RequestRefused,
    SettingsError,
    UnparsableAnswer,
)
from aboutness_assets.limits.throttle import Reservation, Throttle
from tests.support.scripted_endpoint import (
    Answer,
    Drip,
    Hang,
    Recorded,
    Reset,
    Scripted,
    ScriptedEndpoint,
    Together,
    answer_json,
    base64_vector,
    chat_answer,
    embeddings_answer,
    error,
)

MakeClient = Callable[..., OpenAIClient]
MakeThrottle = Callable[..., Throttle]

KEY = "sk-verysecretkey123456"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": '{"songs":[]}'}]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "songs", "strict": True, "schema": {"type": "object"}},
}


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def make_client(endpoint: ScriptedEndpoint, make_throttle: MakeThrottle) -> MakeClient:
    def make(**changes: Any) -> OpenAIClient:
        return OpenAIClient(
            **{
                "api_key": KEY,
                "base_url": endpoint.base_url,
                "chat_model": "gpt-test",
                "reasoning_effort": "none",
                "embedding_model": "embed-test",
                "request_timeout_seconds": 5,
                "chat_throttle": make_throttle(),
                "embedding_throttle": make_throttle(),
                "log": logging.getLogger("test"),
                "retry_backoff_seconds": 0.001,
                **changes,
            }
        )

    return make


@pytest.fixture
async def client(make_client: MakeClient) -> AsyncIterator[OpenAIClient]:
    async with make_client() as client:
        yield client


async def chat(client: OpenAIClient) -> bytes:
    return await client.chat(MESSAGES, SCHEMA, estimated_tokens=(15, 5))


async def test_a_chat_request_carries_model_messages_format_and_effort_and_nothing_else(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    answer = chat_answer("hi")
    endpoint.script(answer)
    assert await chat(client) == answer.body
    [request] = endpoint.requests
    assert request.path == "/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "gpt-test",
        "messages": MESSAGES,
        "response_format": SCHEMA,
        "reasoning_effort": "none",
    }


async def test_an_empty_reasoning_effort_is_not_sent(
    endpoint: ScriptedEndpoint, make_client: MakeClient
) -> None:
    endpoint.script(chat_answer())
    async with make_client(reasoning_effort="") as client:
        await chat(client)
    assert "reasoning_effort" not in endpoint.requests[0].body


async def test_key_and_address_come_from_the_environment_where_none_is_given(
    endpoint: ScriptedEndpoint, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
    endpoint.script(chat_answer())
    async with make_client(api_key=None, base_url="") as client:
        await chat(client)
    assert endpoint.requests[0].headers["Authorization"] == "Bearer from-the-environment"


async def test_without_a_key_the_message_names_the_setting_and_the_embedded_environment(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"OPENAI_API_KEY.*aboutness-local"):
        make_client(api_key="")


@pytest.mark.parametrize("key", ["sk-s3cret\nrest", "sk-s3cret…", "\x1b[31ms3cret"])
async def test_a_key_that_no_request_can_carry_is_told_at_once_and_unshown(
    make_client: MakeClient, key: str
) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY holds characters") as caught:
        make_client(api_key=key)
    assert "s3cret" not in str(caught.value)


async def test_white_space_around_a_key_is_no_part_of_it(
    endpoint: ScriptedEndpoint, make_client: MakeClient
) -> None:
    endpoint.script(chat_answer("hi"))
    async with make_client(api_key=f" {KEY}\n") as client:
        await chat(client)
    assert endpoint.requests[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("base_url", ["localhost:8000/v1", "/v1", "ftp://example.org"])
async def test_an_address_that_is_none_is_told_at_once(make_client: MakeClient, base_url: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        make_client(base_url=base_url)


async def test_with_no_address_at_all_it_is_openai_s(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    async with make_client(base_url=None) as client:
        assert client._openai.base_url.host == "api.openai.com"


async def test_an_endpoint_that_refuses_json_schema_is_asked_for_a_json_object_from_then_on(
    endpoint: ScriptedEndpoint, client: OpenAIClient, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Recorded) -> Answer:
        if request.body["response_format"]["type"] == "json_schema":
            return error(400, "This model does not support it.", param="response_format")
        return chat_answer()

    endpoint.otherwise = answer
    await asyncio.gather(*(chat(client) for _ in range(5)))
    await chat(client)
    formats = [request.body["response_format"]["type"] for request in endpoint.requests]
    assert formats[-1] == "json_object"
    assert formats.count("json_object") == 6
    assert caplog.text.count("refuses json_schema") == 1


async def test_an_endpoint_that_refuses_reasoning_effort_is_no_longer_sent_it(
    endpoint: ScriptedEndpoint, client: OpenAIClient, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.script(error(400, "Unsupported parameter: 'reasoning_effort'."), chat_answer(), chat_answer())
    await chat(client)
    await chat(client)
    assert ["reasoning_effort" in request.body for request in endpoint.requests] == [True, False, False]
    assert all(request.body["response_format"] == SCHEMA for request in endpoint.requests)
    assert caplog.text.count("refuses reasoning_effort") == 1


async def test_an_endpoint_that_refuses_even_a_json_object_refuses_the_request(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    endpoint.otherwise = error(400, "response_format is unknown here")
    with pytest.raises(RequestRefused, match="response_format is unknown here"):
        await chat(client)
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    "trouble",
    [
        error(500, "oops"),
        error(503, "overloaded", {"Retry-After": "0"}),
        error(408, "slow"),
        error(409, "conflict"),
        Answer(b"<html>502 Bad Gateway</html>", 502),
        Answer(b"<html>Welcome</html>", 200),
        Answer(b'{"choices": [', 200),
        Answer(b"[1]", 200),
        answer_json({"error": "in a body of status 200"}),
        Reset(),
        Reset(sent=b'{"choices":'),
    ],
    ids=lambda trouble: f"{type(trouble).__name__}{getattr(trouble, 'status', '')}",
)
async def test_a_passing_fault_of_the_provider_is_tried_again(
    endpoint: ScriptedEndpoint, client: OpenAIClient, trouble: Scripted
) -> None:
    endpoint.script(trouble, trouble, chat_answer("at last"))
    assert read_chat_body(await chat(client)).content == "at last"
    assert (client.counts.chat_requests, client.counts.retries) == (3, 2)


@pytest.mark.parametrize("trouble", [Hang(), Drip()])
async def test_a_request_that_takes_too_long_is_given_up_and_tried_again(
    endpoint: ScriptedEndpoint, make_client: MakeClient, trouble: Scripted
) -> None:
    endpoint.script(trouble, chat_answer("at last"))
    async with make_client(request_timeout_seconds=0.2) as client:
        assert read_chat_body(await chat(client)).content == "at last"


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (error(500, "the database is down"), "HTTP 500: the database is down"),
        (Answer(b"<html>"), "HTTP 200 with a body that is no answer"),
        (Reset(), "a broken connection"),
    ],
)
async def test_a_fault_that_does_not_pass_ends_the_request_with_what_how_often_and_the_last_status(
    endpoint: ScriptedEndpoint, client: OpenAIClient, trouble: Scripted, told: str
) -> None:
    endpoint.otherwise = trouble
    with pytest.raises(ProviderUnavailable, match=f"chat request failed {MAX_ATTEMPTS} times.*{told}"):
        await chat(client)
    assert len(endpoint.requests) == MAX_ATTEMPTS


async def test_an_endpoint_that_no_one_serves_is_unavailable(make_client: MakeClient) -> None:
    async with make_client(base_url="http://127.0.0.1:1/v1") as client:
        with pytest.raises(ProviderUnavailable, match="a broken connection"):
            await chat(client)


@pytest.mark.parametrize(
    "headers",
    [{}, {"retry-after-ms": "5"}, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6ms"}],
)
async def test_a_429_is_waited_for_as_often_as_it_comes_and_never_fails(
    endpoint: ScriptedEndpoint, client: OpenAIClient, headers: dict[str, str]
) -> None:
    storms = MAX_ATTEMPTS + 1
    endpoint.script(*[error(429, "slow down", headers)] * storms, error(500, "oops"), chat_answer("at last"))
    assert read_chat_body(await chat(client)).content == "at last"
    assert client.counts.rate_limited == storms
    assert client.counts.seconds_waited > 0


async def test_a_pause_is_logged_once_for_all_requests_that_it_stops(
    endpoint: ScriptedEndpoint, client: OpenAIClient, caplog: pytest.LogCaptureFixture
) -> None:
    limited = Together(error(429, "slow down", {"retry-after-ms": "30"}), requests=8)
    endpoint.script(*[limited] * 8)
    endpoint.otherwise = chat_answer()
    await asyncio.gather(*(chat(client) for _ in range(8)))
    warnings = [record.getMessage() for record in caplog.records if "429" in record.getMessage()]
    assert warnings == ["The provider's rate limit is reached (HTTP 429): all chat requests wait 0.03 s."]
    assert client.counts.rate_limited == 8


async def test_a_pause_that_the_server_names_by_date_stops_the_others_too(
    endpoint: ScriptedEndpoint,
    make_client: MakeClient,
    make_throttle: MakeThrottle,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    waits: list[float] = []
    pausing, over = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        pausing.set()
        await over.wait()

    date = format_datetime(datetime.now(UTC) + timedelta(hours=5), usegmt=True)
    endpoint.script(error(429, "slow down", {"Retry-After": date}), chat_answer(), chat_answer())
    async with make_client(chat_throttle=make_throttle(clock=lambda: now, sleep=sleep)) as client:
        tasks = [asyncio.create_task(chat(client))]
        await pausing.wait()
        tasks.append(asyncio.create_task(chat(client)))
        await asyncio.sleep(0)
        assert len(endpoint.requests) == 1
        now = 700.0
        over.set()
        await asyncio.gather(*tasks)
    assert waits == [600]
    assert "wait 600 s, although it asked for 1" in caplog.text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(401, f"Incorrect API key provided: {KEY}."), "OPENAI_API_KEY"),
        (error(403, "Country not supported"), "Country not supported"),
        (error(402, "pay first"), "no quota"),
        (error(429, "You exceeded your quota", code="insufficient_quota"), "no quota"),
        (error(429, "Hard limit", code="billing_hard_limit_reached"), "no quota"),
        (error(404, "The model does not exist"), "'gpt-test'.*ABOUTNESS_CHAT_MODEL"),
        (error(400, "no such model", code="model_not_found"), "'gpt-test'.*ABOUTNESS_CHAT_MODEL"),
    ],
)
async def test_what_no_song_can_survive_is_a_global_fault_at_once(
    endpoint: ScriptedEndpoint, client: OpenAIClient, answer: Answer, told: str
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(FatalError, match=told):
        await chat(client)
    assert len(endpoint.requests) == 1


async def test_an_unknown_embedding_model_names_its_own_setting(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    endpoint.otherwise = error(404, "The model does not exist")
    with pytest.raises(FatalError, match=r"'embed-test'.*ABOUTNESS_EMBEDDING_MODEL"):
        await client.embeddings(["a"], None, 1)


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "Invalid value"),
        error(413, "Too big"),
        error(422, "Unprocessable"),
        Answer(b"no JSON at all", 400),
        error(429, "Request too large for gpt-test: Limit 1000, Requested 2000.", code="rate_limit_exceeded"),
    ],
)
async def test_a_refusal_of_this_very_request_is_not_repeated(
    endpoint: ScriptedEndpoint, client: OpenAIClient, answer: Answer
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(RequestRefused) as refusal:
        await chat(client)
    assert len(endpoint.requests) == 1
    assert not isinstance(refusal.value, ContentFiltered)


@pytest.mark.parametrize(
    "details",
    [
        {"code": "content_filter"},
        {"code": "content_policy_violation"},
        {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    ],
)
async def test_a_refusal_by_the_content_filter_is_told_apart(
    endpoint: ScriptedEndpoint, client: OpenAIClient, details: dict[str, Any]
) -> None:
    endpoint.otherwise = error(400, "not allowed", **details)
    with pytest.raises(ContentFiltered):
        await chat(client)


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_no_error_holds_a_secret_or_is_endless(
    endpoint: ScriptedEndpoint, make_client: MakeClient, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "test")
    key = "no-usual-key"
    endpoint.otherwise = error(status, f"key {key}, sk-abc***def, Bearer xyzxyz; " + "long\n" * 500)
    async with make_client(api_key=key) as client:
        with pytest.raises((RequestRefused, FatalError, ProviderUnavailable)) as raised:
            await chat(client)
    error_text = str(raised.value)
    for secret in (key, "sk-abc", "def", "xyzxyz"):
        assert secret not in error_text + caplog.text
    assert len(error_text) < 600
    assert "\n" not in error_text
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize("waits_for", ["the answer", "a slot", "the end of a pause", "the next attempt"])
async def test_cancelling_goes_through_at_once(
    endpoint: ScriptedEndpoint, make_client: MakeClient, make_throttle: MakeThrottle, waits_for: str
) -> None:
    throttle = make_throttle(waits=(500,), max_in_flight=1)
    scripted: Scripted = Hang()
    if waits_for == "the end of a pause":
        scripted = error(429, "slow down")
    if waits_for == "the next attempt":
        scripted = error(503, "closed", {"Retry-After": "500"})
    endpoint.otherwise = scripted
    async with make_client(chat_throttle=throttle) as client:
        tasks = [asyncio.create_task(chat(client))]
        await endpoint.arrived.wait()
        if waits_for == "a slot":
            tasks.insert(0, asyncio.create_task(chat(client)))
            await asyncio.sleep(0)
        await asyncio.wait(tasks, timeout=0.05)  # the answer may arrive; whatever is waited for then
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert throttle.in_flight == 0


async def test_more_than_five_hundred_requests_are_in_flight_at_once(
    endpoint: ScriptedEndpoint, make_client: MakeClient, make_throttle: MakeThrottle
) -> None:
    endpoint.otherwise = Hang()
    throttle = make_throttle(max_in_flight=512, requests_per_minute=60_000)
    async with make_client(chat_throttle=throttle) as client:
        tasks = [asyncio.create_task(chat(client)) for _ in range(520)]
        while len(endpoint.requests) < 512:
            endpoint.arrived.clear()
            await endpoint.arrived.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_tokens_that_were_used_settle_those_that_were_reserved(
    endpoint: ScriptedEndpoint, client: OpenAIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[tuple[float, int, int]] = []

    def settle(throttle: Throttle, reservation: Reservation, prompt: int, completion: int) -> None:
        settled.append((reservation.tokens, prompt, completion))

    monkeypatch.setattr(Throttle, "settle", settle)
    endpoint.script(chat_answer(), embeddings_answer({0: [1.0]}, tokens=3))
    await chat(client)
    await client.embeddings(["a"], None, 9)
    assert settled == [(20, 12, 5), (9, 3, 0)]


async def test_a_client_that_counts_anew_counts_its_own_requests_alone(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    one, other = client.counting_anew(), client.counting_anew()
    endpoint.script(chat_answer(), error(429, "slow down"), chat_answer())
    endpoint.otherwise = embeddings_answer({0: [1.0]})
    await chat(one)
    await chat(other)
    await other.embeddings(["a"], None, 1)
    assert (one.counts.chat_requests, one.counts.rate_limited, one.counts.embedding_requests) == (1, 0, 0)
    assert (other.counts.chat_requests, other.counts.rate_limited, other.counts.embedding_requests) == (
        2,
        1,
        1,
    )
    assert client.counts == WireCounts()


async def test_vectors_are_asked_for_in_base64_and_come_by_index(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    endpoint.script(embeddings_answer({2: base64_vector([3, 4]), 0: base64_vector([1, 2])}, tokens=11))
    answer = await client.embeddings(["a", "b", "c"], 2, 3)
    [request] = endpoint.requests
    assert request.path == "/embeddings"
    assert request.body == {
        "model": "embed-test",
        "input": ["a", "b", "c"],
        "encoding_format": "base64",
        "dimensions": 2,
    }
    assert [None if vector is None else vector.tolist() for vector in answer.vectors] == [
        [1, 2],
        None,
        [3, 4],
    ]
    assert all(vector.dtype == np.float32 for vector in answer.vectors if vector is not None)
    assert answer.tokens == 11


async def test_dimensions_are_not_sent_where_none_are_given(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    endpoint.script(embeddings_answer({0: base64_vector([1])}))
    await client.embeddings(["a"], None, 1)
    assert "dimensions" not in endpoint.requests[0].body


def test_floats_are_understood_where_base64_was_asked_for() -> None:
    raw = embeddings_answer({0: [0.25, -1], 1: [1, 2]}).body
    vectors = read_embeddings_body(raw, 2).vectors
    assert [vector.tolist() for vector in vectors if vector is not None] == [[0.25, -1], [1, 2]]


@pytest.mark.parametrize(
    "embedding", ["%%%", "QUJD", None, 7, {"a": 1}, [[1.0]], ["x"], [1, [2]], [10**400]], ids=repr
)
def test_a_vector_that_cannot_be_read_is_none(embedding: object) -> None:
    raw = embeddings_answer({0: embedding, 1: [1.0]}).body
    unread, read = read_embeddings_body(raw, 2).vectors
    assert unread is None
    assert read is not None


@pytest.mark.parametrize("index", [-1, 2, "0", None, True, 0.0])
def test_an_index_that_names_no_text_is_left_out(index: object) -> None:
    raw = json.dumps({"data": [{"index": index, "embedding": [1.0]}]}).encode()
    assert read_embeddings_body(raw, 2).vectors == [None, None]


def test_of_two_vectors_for_one_text_none_is_believed() -> None:
    item = {"index": 0, "embedding": [1.0]}
    raw = json.dumps({"data": [item, item, item]}).encode()
    assert read_embeddings_body(raw, 1).vectors == [None]


def test_a_chat_body_is_read_in_full() -> None:
    answer = read_chat_body(chat_answer("hello").body)
    assert (answer.content, answer.finish_reason, answer.refusal) == ("hello", "stop", None)
    assert answer.usage == Usage(prompt_tokens=12, cached_tokens=8, completion_tokens=5)
    assert answer.model == "gpt-test-2026-01-01"


@pytest.mark.parametrize("tokens", [2**31, 10**30, -1, 1.5, "12", True, None])
def test_a_count_of_tokens_that_is_none_counts_as_not_said(tokens: object) -> None:
    """The journal holds counts in columns of type integer: a larger one would end the run."""
    body = {"choices": [], "usage": {"prompt_tokens": tokens, "completion_tokens": 5}}
    usage = read_chat_body(json.dumps(body).encode()).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (0, 5)


def test_a_lone_surrogate_in_an_answer_does_not_cost_the_whole_answer() -> None:
    answer = read_chat_body(b'{"choices":[{"message":{"content":"a\\ud800b"}}]}')
    assert answer.content == "a\ud800b"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "data", "index", "embedding", "model"]
            ),
            inner,
        )
    ),
)


@given(json_values)
def test_whatever_json_comes_the_readers_raise_nothing_but_their_own_error(value: object) -> None:
    raw = json.dumps(value).encode()
    for read in (read_chat_body, lambda raw: read_embeddings_body(raw, 3)):
        with suppress(UnparsableAnswer):
            read(raw)


@given(st.binary())
def test_whatever_bytes_come_the_readers_raise_nothing_but_their_own_error(raw: bytes) -> None:
    for read in (read_chat_body, lambda raw: read_embeddings_body(raw, 3)):
        with suppress(UnparsableAnswer):
            read(raw)


def test_endless_nesting_is_no_answer() -> None:
    with pytest.raises(UnparsableAnswer):
        read_chat_body(b"[" * 200_000)

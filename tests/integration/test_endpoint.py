"""The stand-in endpoint over real HTTP, asked by the real openai client."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import numpy as np
import openai
import pytest
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from aboutness_local.endpoint import build_app
from aboutness_local.faults import FAULTS
from aboutness_local.writer import embed, write

ENTRY_FIELDS = ("emotions_text", "emotions_confidence", "moments_text", "moments_confidence")
SONGS = [
    {"key": "1", "title": "Imagine", "artist": "John Lennon"},
    {"key": "b", "title": '"; drop table songs; -- 夜 🎉', "artist": "O'Artist\\"},
    {"key": "3", "title": "", "artist": ""},
]


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    server = TestServer(build_app())
    async with server:
        yield server


@pytest.fixture(params=["aiohttp", "default"])
async def client(server: TestServer, request: pytest.FixtureRequest) -> AsyncIterator[AsyncOpenAI]:
    transport = openai.DefaultAioHttpClient() if request.param == "aiohttp" else None
    async with AsyncOpenAI(
        base_url=str(server.make_url("/v1")), api_key="any", max_retries=0, timeout=20, http_client=transport
    ) as client:
        yield client


class Control:
    """The part of the server that only tests use."""

    def __init__(self, server: TestServer, session: aiohttp.ClientSession) -> None:
        self._server, self._session = server, session

    async def put(self, control: dict[str, Any]) -> int:
        async with self._session.put(self._server.make_url("/control"), json=control) as response:
            return response.status

    async def reset(self) -> None:
        async with self._session.delete(self._server.make_url("/control")) as response:
            assert response.status == 200

    async def received(self) -> dict[str, Any]:
        return await self._get("/requests")

    async def billing(self) -> dict[str, Any]:
        """The bills when no answer is in progress any more."""
        while (billing := await self._get("/billing"))["in_progress"]:
            pass
        return billing

    async def _get(self, path: str) -> dict[str, Any]:
        async with self._session.get(self._server.make_url(path)) as response:
            document: dict[str, Any] = await response.json()
            return document


@pytest.fixture
async def control(server: TestServer) -> AsyncIterator[Control]:
    async with aiohttp.ClientSession() as session:
        yield Control(server, session)


def schema(fields: tuple[str, ...], form: str = "object") -> dict[str, Any]:
    names = ("key", *fields) if form == "list" else fields
    entry = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    reference = {"$ref": "#/$defs/entry"}
    songs: dict[str, Any] = (
        {"type": "array", "items": reference}
        if form == "list"
        else {"type": "object", "properties": {song["key"]: reference for song in SONGS}}
    )
    return {"type": "object", "properties": {"songs": songs}, "$defs": {"entry": entry}}


async def ask(
    client: AsyncOpenAI,
    songs: list[dict[str, str]] = SONGS,
    json_schema: dict[str, Any] | None = None,
    model: str = "gpt-6-luna",
    service_tier: Literal["auto", "flex"] = "auto",
) -> ChatCompletion:
    response_format: Any = {"type": "json_object"}
    if json_schema:
        response_format = {
            "type": "json_schema",
            "json_schema": {"name": "songs", "strict": True, "schema": json_schema},
        }
    return await client.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": "You write what songs are about."},
            {"role": "user", "content": json.dumps({"songs": songs})},
        ],
        response_format=response_format,
        service_tier=service_tier,
    )


def songs_of(completion: ChatCompletion) -> Any:
    content = completion.choices[0].message.content
    assert content
    return json.loads(content)["songs"]


async def test_every_song_is_answered_under_its_key_by_the_writer(client: AsyncOpenAI) -> None:
    completion = await ask(client)
    songs = songs_of(completion)
    assert list(songs) == ["1", "b", "3"]
    for song in SONGS:
        written = write(song["title"], song["artist"])
        assert songs[song["key"]] == {name: getattr(written, name) for name in ENTRY_FIELDS}
    assert completion.id
    assert completion.model == "gpt-6-luna"
    assert completion.system_fingerprint == "stand-in"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    assert completion.usage.completion_tokens > 0
    assert completion.usage.prompt_tokens_details
    assert completion.usage.prompt_tokens_details.cached_tokens == 0


async def test_an_entry_holds_what_the_schema_demands_and_echoes_the_song_as_sent(
    client: AsyncOpenAI,
) -> None:
    fields = ("title", "artist", *ENTRY_FIELDS)
    songs = songs_of(await ask(client, json_schema=schema(fields)))
    for song in SONGS:
        entry = songs[song["key"]]
        assert tuple(entry) == fields
        assert (entry["title"], entry["artist"]) == (song["title"], song["artist"])


async def test_a_schema_without_echo_gets_no_echo(client: AsyncOpenAI) -> None:
    songs = songs_of(await ask(client, json_schema=schema(ENTRY_FIELDS)))
    assert {tuple(entry) for entry in songs.values()} == {ENTRY_FIELDS}


async def test_without_a_schema_titles_are_echoed_where_the_prompt_shows_them(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="m",
        messages=[
            {"role": "system", "content": 'Answer {"songs":{"1":{"title":"…","emotions_text":"…"}}}'},
            {"role": "user", "content": json.dumps({"songs": SONGS})},
        ],
        response_format={"type": "json_object"},
    )
    assert [entry["title"] for entry in songs_of(completion).values()] == [song["title"] for song in SONGS]


async def test_a_schema_that_wants_a_list_gets_a_list(client: AsyncOpenAI) -> None:
    songs = songs_of(await ask(client, json_schema=schema(ENTRY_FIELDS, "list")))
    assert [entry["key"] for entry in songs] == ["1", "b", "3"]
    assert {tuple(entry) for entry in songs} == {("key", *ENTRY_FIELDS)}


async def test_a_message_that_is_not_a_songs_document_is_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="songs"):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello?"}])


async def test_the_default_embedding_is_that_of_the_model(client: AsyncOpenAI) -> None:
    texts = ["driving through rain", "a first kiss"]
    reply = await client.embeddings.create(model="text-embedding-3-small", input=texts)
    vectors = np.array([item.embedding for item in reply.data], dtype=np.float32)
    np.testing.assert_array_equal(vectors, embed(texts, 1536))
    assert [item.index for item in reply.data] == [0, 1]
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == 8


async def test_floats_and_base64_are_the_same_numbers(client: AsyncOpenAI) -> None:
    as_floats = await client.embeddings.create(model="m", input="a first kiss", encoding_format="float")
    as_base64 = await client.embeddings.create(model="m", input="a first kiss")
    np.testing.assert_allclose(as_floats.data[0].embedding, as_base64.data[0].embedding, rtol=1e-6)


@pytest.mark.parametrize("dimensions", [64, 256, 3072])
async def test_the_dimension_asked_for_is_obeyed(client: AsyncOpenAI, dimensions: int) -> None:
    reply = await client.embeddings.create(model="m", input="a first kiss", dimensions=dimensions)
    assert len(reply.data[0].embedding) == dimensions


@pytest.mark.parametrize("texts", [["fine", ""], "", [], ["text"] * 2049])
async def test_embedding_inputs_that_openai_refuses_are_refused(
    client: AsyncOpenAI, texts: list[str] | str
) -> None:
    with pytest.raises(openai.BadRequestError, match=r"\$\.input"):
        await client.embeddings.create(model="m", input=texts)


async def test_as_many_inputs_as_openai_takes_are_taken(client: AsyncOpenAI) -> None:
    reply = await client.embeddings.create(model="m", input=["text"] * 2048, dimensions=8)
    assert len(reply.data) == 2048


async def test_a_wrong_key_and_a_missing_model_are_refused_as_openai_refuses_them(
    client: AsyncOpenAI,
) -> None:
    with pytest.raises(openai.AuthenticationError) as unauthorized:
        await ask(client.with_options(api_key="wrong"))
    assert unauthorized.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as not_found:
        await ask(client, model="missing-model")
    assert not_found.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="missing-model", input="text")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").models.list()


async def test_a_request_without_a_key_is_unauthorized(server: TestServer) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(server.make_url("/v1/embeddings"), json={"model": "m", "input": "text"}) as response,
    ):
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "invalid_api_key"


async def test_models_are_listed_and_looked_up(client: AsyncOpenAI) -> None:
    assert "gpt-6-luna" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("text-embedding-3-small")).owned_by == "stand-in"


STATUSES = {
    "http_429": 429,
    "http_429_retry_after": 429,
    "http_429_retry_after_ms": 429,
    "insufficient_quota": 429,
    "http_401": 401,
    "http_404_model": 404,
    "http_400": 400,
    "http_400_response_format": 400,
    "http_500": 500,
    "http_502": 502,
    "http_503": 503,
}


@pytest.mark.parametrize("name", STATUSES)
async def test_an_http_fault_comes_with_its_status_once(
    client: AsyncOpenAI, control: Control, name: str
) -> None:
    await control.put({"chat": {"script": [name]}})
    with pytest.raises(openai.APIStatusError) as raised:
        await ask(client, json_schema=schema(ENTRY_FIELDS))
    assert raised.value.status_code == STATUSES[name]
    assert raised.value.response.headers.get("retry-after") == {"http_429_retry_after": "1"}.get(name)
    assert raised.value.response.headers.get("retry-after-ms") == {"http_429_retry_after_ms": "200"}.get(name)
    await ask(client, json_schema=schema(ENTRY_FIELDS))


async def test_a_retrying_client_gets_through_a_script_of_faults(
    client: AsyncOpenAI, control: Control
) -> None:
    await control.put({"embeddings": {"script": ["http_429_retry_after_ms", "connection_reset"]}})
    reply = await client.with_options(max_retries=2).embeddings.create(model="m", input="text")
    assert len(reply.data) == 1
    received = await control.received()
    assert [entry["fault"] for entry in received["requests"]] == [
        "http_429_retry_after_ms",
        "connection_reset",
        None,
    ]
    assert [entry["status"] for entry in received["requests"]] == [429, None, 200]


@pytest.mark.parametrize("name", ["connection_reset", "reset_mid_body"])
async def test_a_reset_breaks_the_connection_and_nothing_else(
    client: AsyncOpenAI, control: Control, name: str
) -> None:
    await control.put({"chat": {"script": [name]}})
    with pytest.raises(openai.APIConnectionError):
        await ask(client)
    await ask(client)


async def test_a_reset_mid_body_sends_the_headers_and_half_of_the_body(
    server: TestServer, control: Control
) -> None:
    await control.put({"embeddings": {"script": ["reset_mid_body"]}})
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer any"}) as session,
        session.post(server.make_url("/v1/embeddings"), json={"model": "m", "input": "text"}) as response,
    ):
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_hanging_reply_lasts_until_the_client_leaves(client: AsyncOpenAI, control: Control) -> None:
    await control.put({"chat": {"script": ["hang"]}})
    with pytest.raises(openai.APITimeoutError):
        await ask(client.with_options(timeout=0.3))
    await ask(client)


async def test_a_hanging_reply_does_not_hold_up_the_end_of_the_server() -> None:
    async with aiohttp.ClientSession() as session:
        server = TestServer(build_app())
        await server.start_server()
        control = Control(server, session)
        await control.put({"embeddings": {"script": ["hang"]}})
        request = asyncio.create_task(
            session.post(
                server.make_url("/v1/embeddings"),
                json={"model": "m", "input": "text"},
                headers={"Authorization": "Bearer any"},
            )
        )
        while not (await control.received())["requests"]:
            pass
        async with asyncio.timeout(20):
            await server.close()
        with contextlib.suppress(aiohttp.ClientError):
            await request


async def test_a_slow_drip_sends_the_whole_reply_byte_by_byte(server: TestServer, control: Control) -> None:
    await control.put({"embeddings": {"script": ["slow_drip"]}})
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer any"}) as session,
        session.post(
            server.make_url("/v1/embeddings"), json={"model": "m", "input": "text", "dimensions": 1}
        ) as response,
    ):
        pieces = [piece async for piece, _ in response.content.iter_chunks()]
    assert len(json.loads(b"".join(pieces))["data"]) == 1
    assert len(pieces) > len(b"".join(pieces)) / 2


async def test_html_comes_with_status_200(client: AsyncOpenAI, control: Control) -> None:
    await control.put({"chat": {"script": ["html_instead_of_json"]}})
    raw = await client.chat.completions.with_raw_response.create(
        model="m", messages=[{"role": "user", "content": json.dumps({"songs": SONGS})}]
    )
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "name", ["refusal", "null_content", "content_filter", "truncated_json", "lone_surrogate"]
)
async def test_a_fault_of_the_answer_comes_as_a_proper_completion(
    client: AsyncOpenAI, control: Control, name: str
) -> None:
    await control.put({"chat": {"script": [name]}})
    message = (completion := await ask(client)).choices[0].message
    assert bool(message.refusal) == (name == "refusal")
    assert (message.content is None) == (name in {"refusal", "null_content"})
    reasons = {"content_filter": "content_filter", "truncated_json": "length"}
    assert completion.choices[0].finish_reason == reasons.get(name, "stop")


async def test_embedding_faults_reach_the_client(client: AsyncOpenAI, control: Control) -> None:
    script = ["embedding_nan", "embedding_dropped", "embedding_shuffled", "embedding_floats"]
    await control.put({"embeddings": {"script": script}})
    texts = ["one", "two", "three"]
    replies = [await client.embeddings.create(model="m", input=texts, dimensions=16) for _ in script]
    assert np.isnan([item.embedding for item in replies[0].data]).any()
    assert len(replies[1].data) == 2
    assert [item.index for item in replies[2].data] != [0, 1, 2]
    in_order = [item.embedding for item in sorted(replies[2].data, key=lambda item: item.index)]
    np.testing.assert_allclose(in_order, embed(texts, 16))
    np.testing.assert_allclose([item.embedding for item in replies[3].data], embed(texts, 16), rtol=1e-6)


async def test_a_poisoned_song_spoils_every_request_it_is_in(client: AsyncOpenAI, control: Control) -> None:
    await control.put({"poison": {"Imagine": "refusal"}})
    for songs in (SONGS, SONGS[:1]):
        assert (await ask(client, songs)).choices[0].message.refusal
    assert not (await ask(client, SONGS[1:])).choices[0].message.refusal


async def test_the_record_lists_what_was_received_until_it_is_reset(
    client: AsyncOpenAI, control: Control
) -> None:
    await control.put({"chat": {"script": ["http_500"]}})
    with pytest.raises(openai.InternalServerError):
        await ask(client)
    await client.embeddings.create(model="m", input=["one", "two"])
    received = await control.received()
    assert received["requests"] == [
        {
            "route": "chat",
            "status": 500,
            "fault": "http_500",
            "is_cut": False,
            "songs": [{"title": song["title"], "artist": song["artist"]} for song in SONGS],
        },
        {"route": "embeddings", "status": 200, "fault": None, "inputs": 2},
    ]
    assert received["counts"] == {
        "requests": {"chat": 1, "embeddings": 1},
        "items": {"songs": 3, "inputs": 2},
        "faults": {"http_500": 1},
        "statuses": {"500": 1, "200": 1},
    }
    await control.reset()
    assert (await control.received())["requests"] == []


async def test_an_invalid_control_is_refused_and_changes_nothing(
    client: AsyncOpenAI, control: Control
) -> None:
    await control.put({"chat": {"script": ["refusal"]}})
    assert await control.put({"chat": {"script": ["no_such_fault"]}}) == 400
    assert (await ask(client)).choices[0].message.refusal


async def test_limits_are_stated_in_headers_and_enforced(client: AsyncOpenAI, control: Control) -> None:
    await control.put({"limits": {"requests_per_minute": 1, "tokens_per_minute": 100_000}})
    raw = await client.embeddings.with_raw_response.create(model="m", input="text")
    assert raw.headers["x-ratelimit-limit-requests"] == "1"
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    assert raw.headers["x-ratelimit-limit-tokens"] == "100000"
    with pytest.raises(openai.RateLimitError) as raised:
        await client.embeddings.create(model="m", input="text")
    assert raised.value.code == "rate_limit_exceeded"
    assert 0 < int(raised.value.response.headers["retry-after-ms"]) <= 60_000
    await ask(client)  # chat has a limit of its own


async def test_an_answer_is_billed_although_its_client_has_left(
    client: AsyncOpenAI, control: Control
) -> None:
    prices = {"chat": {"input": 1, "output": 10}, "embedding": 1}
    await control.put({"prices": prices, "latency_seconds": {"chat": 1}})
    asking = asyncio.create_task(ask(client))
    while not (await control.received())["requests"]:
        pass
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    billed_unheard = (await control.billing())["totals"]
    await control.reset()
    await control.put({"prices": prices})
    usage = (await ask(client)).usage
    assert usage
    assert billed_unheard["usd"] == (usage.prompt_tokens + 10 * usage.completion_tokens) / 1e6
    assert billed_unheard == (await control.billing())["totals"]


@pytest.mark.parametrize("name", ["hang", "connection_reset", "reset_mid_body"])
async def test_an_answer_whose_delivery_breaks_is_billed(
    client: AsyncOpenAI, control: Control, name: str
) -> None:
    await control.put({"prices": {"embedding": 1}, "embeddings": {"script": [name]}})
    with pytest.raises(openai.APIConnectionError):
        await client.with_options(timeout=0.3).embeddings.create(model="m", input="a first kiss")
    [bill] = (await control.billing())["bills"]
    assert (bill["route"], bill["prompt_tokens"], bill["usd"]) == ("embeddings", 3, 3 / 1e6)


async def test_what_is_refused_is_not_billed_and_a_reset_forgets_the_bills(
    client: AsyncOpenAI, control: Control
) -> None:
    await control.put({"chat": {"script": ["http_429", "http_500", "http_400"]}})
    for error in (openai.RateLimitError, openai.InternalServerError, openai.BadRequestError):
        with pytest.raises(error):
            await ask(client)
    assert (await control.billing())["bills"] == []
    await ask(client)
    assert len((await control.billing())["bills"]) == 1
    await control.reset()
    assert (await control.billing())["bills"] == []


async def test_flex_is_served_refused_and_unavailable(client: AsyncOpenAI, control: Control) -> None:
    assert (await ask(client, service_tier="flex")).service_tier == "flex"
    await control.put({"chat": {"script": ["flex_unavailable"]}})
    with pytest.raises(openai.RateLimitError) as unavailable:
        await ask(client, service_tier="flex")
    assert unavailable.value.code == "resource_unavailable"
    assert "retry-after-ms" not in unavailable.value.response.headers
    await control.put({"refused_parameters": ["service_tier"]})
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(client, service_tier="flex")
    assert refused.value.param == "service_tier"


async def test_an_answer_is_cut_at_the_limit_of_its_request(client: AsyncOpenAI, control: Control) -> None:
    messages: Any = [{"role": "user", "content": json.dumps({"songs": SONGS})}]
    cut = await client.chat.completions.create(model="m", messages=messages, max_completion_tokens=20)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage
    assert cut.usage.completion_tokens == 20
    assert [entry["is_cut"] for entry in (await control.received())["requests"]] == [True]


async def test_any_mixture_of_faults_leaves_the_server_standing(
    client: AsyncOpenAI, control: Control
) -> None:
    faults = [fault for fault in FAULTS.values() if fault.name not in {"hang", "slow_drip"}]
    chat = [fault.name for fault in faults if "chat" in fault.routes]
    embeddings = [fault.name for fault in faults if "embeddings" in fault.routes]
    await control.put({"chat": {"script": chat}, "embeddings": {"script": embeddings}})
    await asyncio.gather(
        *(ask(client, json_schema=schema(("title", *ENTRY_FIELDS)), service_tier="flex") for _ in chat),
        *(client.embeddings.create(model="m", input=["one", "two"], dimensions=8) for _ in embeddings),
        return_exceptions=True,
    )
    received = await control.received()
    assert received["counts"]["faults"] == {
        name: (name in chat) + (name in embeddings) for name in {*chat, *embeddings}
    }
    await ask(client)


def test_the_command_serves_on_loopback_only() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "aboutness_local.endpoint",
        "--port",
        str(port),
        "--dimension",
        "384",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0)
            assert len(client.embeddings.create(model="m", input="text").data[0].embedding) == 384
            with socket.socket() as other, pytest.raises(OSError, match="refused"):
                other.connect(("127.0.0.2", port))
        finally:
            process.terminate()
    assert process.returncode == 0

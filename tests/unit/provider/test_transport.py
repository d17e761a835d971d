"""Keys, addresses, and one HTTP request with whatever comes of it, over real sockets."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.pipeline.session.provider import limit_name_of
from aboutness_assets.provider.services import embedding_service
from aboutness_assets.provider.transport import Endpoint, Reply, Transport
from tests.support.provider_clients import KEY, open_clients
from tests.support.scripted_endpoint import (
    Answer,
    Drip,
    Hang,
    Reset,
    Scripted,
    ScriptedEndpoint,
    answer_json,
    chat_answer,
    embeddings_answer,
    error,
)

DOCUMENT = '{"model":"gpt-test","input":"夜 \\u0000 🌙"}'.encode()


async def post(
    base_url: str | None,
    *,
    api_key: str | None = KEY,
    timeout_seconds: float = 60,
    extra_headers: str | None = None,
) -> tuple[Transport, Reply]:
    async with Transport(Endpoint(api_key, base_url, timeout_seconds, extra_headers)) as transport:
        return transport, await transport.post("/embeddings", DOCUMENT)


@asynccontextmanager
async def server_that_says(sent: bytes) -> AsyncIterator[str]:
    """An HTTP server that writes these bytes and hangs up; yields its base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(DOCUMENT)
        writer.write(sent)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_a_document_leaves_as_it_is(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(answer_json({"a": 1}))
    _, reply = await post(endpoint.base_url)
    [request] = endpoint.requests
    assert request.path == "/embeddings"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Content-Length"] == str(len(DOCUMENT))
    assert request.body == {"model": "gpt-test", "input": "夜 \0 🌙"}
    assert (reply.status, reply.body, reply.trouble) == (200, b'{"a": 1}', None)


async def test_key_and_address_come_from_the_environment_where_none_is_given(
    endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
    await post("", api_key=None)
    assert endpoint.requests[0].headers["Authorization"] == "Bearer from-the-environment"


async def test_without_a_key_the_message_names_the_setting_and_the_embedded_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"OPENAI_API_KEY.*aboutness-local"):
        Transport(Endpoint("", None, 5))


@pytest.mark.parametrize("key", ["sk-s3cret\nrest", "sk-s3cret…", "\x1b[31ms3cret"])
async def test_a_key_that_no_request_can_carry_is_told_at_once_and_unshown(key: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY holds characters") as caught:
        Transport(Endpoint(key, None, 5))
    assert "s3cret" not in str(caught.value)


def test_the_key_is_not_shown_where_an_endpoint_is_printed() -> None:
    assert KEY not in repr(Endpoint(KEY, None, 5))


async def test_white_space_around_a_key_is_no_part_of_it(endpoint: ScriptedEndpoint) -> None:
    transport, _ = await post(endpoint.base_url, api_key=f" {KEY}\n")
    assert endpoint.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert transport.api_key == KEY


@pytest.mark.parametrize("base_url", ["localhost:8000/v1", "/v1", "ftp://example.org"])
async def test_an_invalid_address_is_told_at_once(base_url: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        Transport(Endpoint(KEY, base_url, 5))


async def test_with_no_address_at_all_it_is_openai_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    async with Transport(Endpoint(KEY, None, 5)) as transport:
        assert transport.host == "api.openai.com"


@pytest.mark.parametrize("status", [201, 304, 400, 404, 429, 500, 503])
async def test_an_answer_of_any_status_comes_with_its_headers_and_body(
    endpoint: ScriptedEndpoint, status: int
) -> None:
    body = b"" if status == 304 else b"as it came"
    endpoint.script(Answer(body, status, {"X-Ratelimit-Limit-Requests": "7"}))
    _, reply = await post(endpoint.base_url)
    assert (reply.status, reply.body, reply.trouble) == (status, body, None)
    assert reply.headers.get("x-ratelimit-limit-requests") == "7"
    assert len(endpoint.requests) == 1


async def test_nothing_is_sent_twice_whatever_the_server_advises(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = error(500, "oops", {"x-should-retry": "true", "Retry-After": "0"})
    await post(endpoint.base_url)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("trouble", [Hang(), Drip()], ids=["no byte", "byte after byte"])
async def test_a_request_that_takes_too_long_is_given_up(
    endpoint: ScriptedEndpoint, trouble: Scripted
) -> None:
    endpoint.script(trouble)
    _, reply = await post(endpoint.base_url, timeout_seconds=0.2)
    assert reply == Reply(0, {}, b"", "no whole answer within 0.2 s")


@pytest.mark.parametrize(
    "trouble",
    [
        Reset(),
        Reset(sent=b'{"choices":'),
        Answer(b"not gzip", headers={"Content-Encoding": "gzip"}),
        Answer(b"", 302, {"Location": "http://127.0.0.1:1/v1"}),
    ],
    ids=["at once", "in the body", "undecodable", "led nowhere"],
)
async def test_no_whole_answer_is_a_trouble_and_no_status(
    endpoint: ScriptedEndpoint, trouble: Scripted
) -> None:
    endpoint.script(trouble)
    _, reply = await post(endpoint.base_url)
    assert (reply.status, reply.body) == (0, b"")
    assert reply.trouble is not None
    assert reply.trouble.startswith("a broken connection (")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["silence", "not HTTP", "an error cut in its body", "wrong chunks"],
)
async def test_what_is_no_http_is_a_trouble_and_no_status(sent: bytes) -> None:
    async with server_that_says(sent) as base_url:
        _, reply = await post(base_url)
    assert (reply.status, reply.body) == (0, b"")
    assert reply.trouble is not None
    assert reply.trouble.startswith("a broken connection (")


async def test_an_endpoint_that_no_one_serves_is_a_trouble() -> None:
    _, reply = await post("http://127.0.0.1:1/v1")
    assert reply.status == 0
    assert reply.trouble is not None
    assert reply.trouble.startswith("a broken connection (")


async def test_cancelling_a_request_goes_through_and_is_no_time_out(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.otherwise = Hang()
    task = asyncio.create_task(post(endpoint.base_url))
    await endpoint.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- Addresses with queries and secrets, and extra headers ------------------------------------------------

QUERY = "api-version=2024-10-21&x=a%20b"


async def test_the_query_of_the_base_url_follows_the_path_of_every_request(
    endpoint: ScriptedEndpoint,
) -> None:
    async with open_clients(f"{endpoint.base_url}/deployments/d/?{QUERY}#top") as clients:
        endpoint.script(chat_answer(), embeddings_answer({0: [1.0]}))
        await clients.chat()
        await clients.embedding_client.embeddings(["a"], None, 1, clients.attempts)
    assert [request.target for request in endpoint.requests] == [
        f"/v1/deployments/d/chat/completions?{QUERY}",
        f"/v1/deployments/d/embeddings?{QUERY}",
    ]


@pytest.mark.parametrize(
    ("extra_headers", "authorization"),
    [
        ('{"X-Team": "music", "HTTP-Referer": "https://example.org"}', f"Bearer {KEY}"),
        ('{"api-key": "azure-key"}', None),
        ('{"Api-Key": "azure-key"}', None),
        ('{"x-goog-api-key": "azure-key"}', None),
        ('{"authorization": "Token mine"}', "Token mine"),
        ('{"Authorization": "Token mine", "api-key": "azure-key"}', "Token mine"),
        (" ", f"Bearer {KEY}"),
    ],
)
async def test_extra_headers_go_with_every_request_and_win_over_the_key(
    endpoint: ScriptedEndpoint, extra_headers: str, authorization: str | None
) -> None:
    endpoint.otherwise = answer_json({})
    await post(endpoint.base_url, extra_headers=extra_headers)
    [request] = endpoint.requests
    assert request.headers.get("Authorization") == authorization
    for name, value in json.loads(extra_headers if extra_headers.strip() else "{}").items():
        assert [sent for header, sent in request.headers.items() if header.lower() == name.lower()] == [value]


async def test_a_key_among_the_extra_headers_is_enough(
    endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    endpoint.otherwise = answer_json({})
    transport, reply = await post(endpoint.base_url, api_key=None, extra_headers='{"api-key": "azure-key"}')
    assert reply.status == 200
    assert transport.api_key == "azure-key"
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        Transport(Endpoint(None, endpoint.base_url, 5, '{"X-Team": "music"}'))


async def test_a_user_and_a_password_in_the_base_url_are_sent_as_a_header(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = answer_json({})
    base_url = endpoint.base_url.replace("//", "//ann:p%40ss@")
    await post(base_url)
    await post(base_url, extra_headers='{"Authorization": "Token mine"}')
    basic = base64.b64encode(b"ann:p@ss").decode()
    assert [request.headers["Authorization"] for request in endpoint.requests] == [
        f"Basic {basic}",
        "Token mine",
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("api-key: s3cret", "not valid JSON"),
        ("{'api-key': 's3cret'}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('["s3cret"]', "not a JSON object"),
        ('"s3cret"', "not a JSON object"),
        ('{"api-key": ["s3cret"]}', "value of api-key is not a text"),
        ('{"api-key": 7}', "value of api-key is not a text"),
        ('{"api-key": ""}', "value of api-key is not a text"),
        ('{"api-key": "s3cret\\nX: y"}', "value of api-key is not a text"),
        ('{"api-key": "s3cret…"}', "value of api-key is not a text"),
        ('{"api-key": " s3cret"}', "value of api-key is not a text"),
        ('{"s3cret key": "x"}', "a name that no header can have"),
        ('{"": "s3cret"}', "a name that no header can have"),
        ('{"Content-Length": "s3cret"}', "Content-Length, which belongs"),
        ('{"api-key": "s3cret", "Api-Key": "other"}', "api-key twice"),
    ],
)
def test_extra_headers_that_cannot_be_sent_are_told_at_once_and_unshown(given: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Transport(Endpoint(KEY, None, 5, given))
    assert "ABOUTNESS_EXTRA_HEADERS" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["http://ann:s3cret@/v1", "ftp://s3cret@h/v1", "http://h:s3cret/", "http://[s3cret/v1"]
)
def test_an_invalid_address_is_not_shown(base_url: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL") as caught:
        Transport(Endpoint(KEY, base_url, 5))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 403])
async def test_no_secret_of_an_address_or_a_header_is_told_printed_or_stored(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ["Zq7password", "Zq7querykey", "Zq7header", "Zq7bearer"]
    base_url = endpoint.base_url.replace("//", "//ann:Zq7password@") + "?code=Zq7querykey&api-version=1"
    headers = json.dumps({"X-Gateway": "Zq7header", "Authorization": "Bearer Zq7bearer"})
    given = Endpoint(KEY, base_url, 60, headers)
    endpoint.otherwise = error(status, "denied: " + " ".join(secrets) + " in version 1")
    async with Transport(given) as transport:
        reply = await transport.post("/embeddings", DOCUMENT)
    name = limit_name_of(embedding_service("embed-test"), transport)
    for secret in secrets:
        assert secret not in repr(given) + repr(reply) + name + transport.host + caplog.text
    assert b"in version 1" in reply.body
    assert name.startswith(f"embedding {endpoint.base_url} ")


def test_what_differs_in_query_or_key_does_not_share_a_limit() -> None:
    def name(base_url: str, headers: str | None = None) -> str:
        return limit_name_of(embedding_service("m"), Transport(Endpoint(KEY, base_url, 5, headers)))

    url = "https://h.example/v1"
    names = [name(url), name(url + "?k=1"), name(url + "?k=2"), name(url, '{"api-key": "a-key"}')]
    assert len(set(names)) == 4
    assert name("https://ann:pw@h.example/v1/") == names[0]

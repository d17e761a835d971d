"""Keys, addresses, and one HTTP request with whatever comes of it, over real sockets."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.provider.transport import Endpoint, Reply, Transport
from tests.support.provider_clients import KEY
from tests.support.scripted_endpoint import (
    Answer,
    Drip,
    Hang,
    Reset,
    Scripted,
    ScriptedEndpoint,
    answer_json,
    error,
)

DOCUMENT = '{"model":"gpt-test","input":"夜 \\u0000 🌙"}'.encode()


async def post(
    base_url: str | None, *, api_key: str | None = KEY, timeout_seconds: float = 60
) -> tuple[Transport, Reply]:
    async with Transport(Endpoint(api_key, base_url, timeout_seconds)) as transport:
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

"""HTTP/1.1 on 127.0.0.1, by hand: what it costs must not disturb what is measured on the same cores."""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any, cast

import orjson

from benchmarks.endpoint.answers import MODEL_DIMENSION, TOKENS_PER_SONG, entry, vector
from benchmarks.endpoint.control import Control
from benchmarks.endpoint.counts import Counts
from benchmarks.endpoint.limits import RateLimit

MODELS = ("gpt-6-luna", "text-embedding-3-small")
CHARACTERS_PER_TOKEN = 4

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


class Route:
    """One of the paid routes: its behaviour, its limits, its counts."""

    def __init__(self) -> None:
        self.control = Control()
        self.limit = RateLimit()
        self.counts = Counts(time.monotonic())
        self.in_flight = 0
        self._random = random.Random(1)

    def behave(self, control: Control) -> None:
        """Behave so from now on."""
        self.control = control
        self.limit.set(control, time.monotonic())

    def latency(self) -> float:
        """Seconds until the next answer leaves."""
        median = self.control.latency_median
        return (
            self._random.lognormvariate(math.log(median), self.control.latency_sigma) if median > 0 else 0.0
        )

    def report(self) -> dict[str, Any]:
        """The counts since they were last cleared, what is in flight, what the limits would now let pass."""
        now = time.monotonic()
        return {
            **self.counts.report(now),
            "in_flight": self.in_flight,
            "remaining": self.limit.remaining(now),
        }


class Endpoint:
    """All routes."""

    def __init__(self) -> None:
        self.routes = {"chat": Route(), "embeddings": Route()}
        self._created = int(time.time())

    def answer(self, connection: Connection, method: bytes, path: bytes, body: bytes) -> None:
        """Answer one request on its connection, now or later."""
        if path == b"/v1/chat/completions":
            self._chat(connection, body)
        elif path == b"/v1/embeddings":
            self._embeddings(connection, orjson.loads(body))
        elif path == b"/v1/models":
            models = [{"id": name, "object": "model", "owned_by": "benchmark"} for name in MODELS]
            connection.send_json(200, {"object": "list", "data": models})
        elif path == b"/health":
            connection.send_json(200, {})
        elif path == b"/control":
            self._control({} if method == b"DELETE" else orjson.loads(body), anew=method == b"DELETE")
            connection.send_json(200, {name: asdict(route.control) for name, route in self.routes.items()})
        elif path == b"/stats":
            if method == b"DELETE":
                for route in self.routes.values():
                    route.counts = Counts(time.monotonic())
            connection.send_json(200, {name: route.report() for name, route in self.routes.items()})
        else:
            connection.send_json(404, _error(f"There is no {path.decode()}.", "invalid_request_error"))

    def _control(self, given: dict[str, dict[str, Any]], *, anew: bool) -> None:
        for name, route in self.routes.items():
            if anew:
                route.behave(Control())
                route.limit = RateLimit()
            elif name in given:
                route.behave(replace(route.control, **given[name]))

    def _chat(self, connection: Connection, received: bytes) -> None:
        request = orjson.loads(received)
        songs = _songs_in(request["messages"][-1]["content"])
        prompt = len(received) // CHARACTERS_PER_TOKEN + 1
        completion = TOKENS_PER_SONG * len(songs) or 1
        route = self.routes["chat"]
        allowed = request.get("max_completion_tokens") or request.get("max_tokens") or 0
        counted = prompt + completion if route.control.counts == "usage" else max(prompt, allowed)

        def body() -> list[bytes]:
            content = orjson.dumps({"songs": {song["key"]: entry(song) for song in songs}}).decode()
            message = {"role": "assistant", "content": content, "refusal": None}
            return [
                orjson.dumps(
                    {
                        "id": "chatcmpl-benchmark",
                        "object": "chat.completion",
                        "created": self._created,
                        "model": request["model"],
                        "choices": [
                            {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
                        ],
                        "usage": {
                            "prompt_tokens": prompt,
                            "completion_tokens": completion,
                            "total_tokens": prompt + completion,
                            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                        },
                    }
                )
            ]

        _admit(route, connection, counted, len(songs), body)

    def _embeddings(self, connection: Connection, request: dict[str, Any]) -> None:
        given = request["input"]
        texts: list[str] = [given] if isinstance(given, str) else given
        tokens = sum(len(text) // CHARACTERS_PER_TOKEN + 1 for text in texts)
        dimensions = request.get("dimensions") or MODEL_DIMENSION
        encoding = request.get("encoding_format") or "float"

        def body() -> list[bytes]:
            parts = [b'{"object":"list","data":[']
            for index, text in enumerate(texts):
                parts += (
                    b'%b{"object":"embedding","index":%d,"embedding":' % (b"," if index else b"", index),
                    vector(text, dimensions, encoding),
                    b"}",
                )
            usage = orjson.dumps({"prompt_tokens": tokens, "total_tokens": tokens})
            parts.append(b'],"model":%b,"usage":%b}' % (orjson.dumps(request["model"]), usage))
            return parts

        _admit(self.routes["embeddings"], connection, tokens, len(texts), body)


def _admit(
    route: Route, connection: Connection, tokens: float, items: int, body: Callable[[], list[bytes]]
) -> None:
    """Answer after the latency what the limits let pass, and the rest with a 429 at once.

    The headers say how things stood when the request came in: that is when a provider decides.
    """
    now = time.monotonic()
    wait, lacking = route.limit.admit(tokens, now)
    route.counts.add(now, items, tokens, admitted=not wait)
    headers = route.limit.headers(now, wait)
    if wait:
        said = f" Please try again in {wait:.3f}s." if route.control.retry_after else ""
        connection.send_json(
            429,
            _error(f"Rate limit reached on {lacking} per min.{said}", lacking, "rate_limit_exceeded"),
            headers,
        )
        return
    route.in_flight += 1

    def send() -> None:
        route.in_flight -= 1
        connection.send(200, body(), headers)

    if latency := route.latency():
        asyncio.get_running_loop().call_later(latency, send)
    else:
        send()


def _songs_in(content: str | list[dict[str, str]]) -> list[dict[str, Any]]:
    """The songs that a user's message asks for; none where it is something else (a client's first probe)."""
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    try:
        songs: list[dict[str, Any]] = orjson.loads(text[text.index('{"songs"') :])["songs"]
    except ValueError:
        return []
    return songs


def _error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Connection(asyncio.Protocol):
    """One keep-alive connection; a client sends its next request after it has the answer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of another class

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:head_end])
            length = _CONTENT_LENGTH.search(head)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            body = bytes(self._received[head_end + 4 : end])
            del self._received[:end]
            method, path, _ = head.split(b" ", 2)
            try:
                self._endpoint.answer(self, method, path, body)
            except (LookupError, TypeError, ValueError) as wrong:
                self.send_json(400, _error(repr(wrong), "invalid_request_error"))

    def send_json(self, status: int, body: object, headers: str = "") -> None:
        """Send an answer."""
        self.send(status, [orjson.dumps(body)], headers)

    def send(self, status: int, parts: Iterable[bytes], headers: str = "") -> None:
        """Send an answer whose JSON comes in parts."""
        if self._transport.is_closing():
            return
        body = b"".join(parts)
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        )
        self._transport.writelines([head.encode(), body])

"""HTTP/1.1 on 127.0.0.1, by hand: its CPU must not disturb what is measured on the same cores."""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import orjson

from aboutness_local.answers import completion
from aboutness_local.exchange import ApiError, Usage, rate_limit_reached
from aboutness_local.provider import MODELS, model_entry
from aboutness_local.rate_limit import RateLimiter
from aboutness_local.token_rules import CHARACTERS_PER_TOKEN
from benchmarks.endpoint.answers import MODEL_DIMENSION, TOKENS_PER_SONG, entry, vector
from benchmarks.endpoint.control import Control
from benchmarks.endpoint.counts import Counts

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


class Route:
    """One of the paid routes: its behavior, limits and counts."""

    def __init__(self) -> None:
        self.control = Control()
        self.limiter = RateLimiter(self.control.limits)
        self.counts = Counts(time.monotonic())
        self.in_flight = 0
        self._random = random.Random(1)

    def behave(self, control: Control) -> None:
        """Behave so from now on; what has been used of the limits stays used."""
        self.control = control
        self.limiter.change(control.limits)

    def latency(self) -> float:
        """Seconds until the next answer is sent."""
        median = self.control.latency_median
        return (
            self._random.lognormvariate(math.log(median), self.control.latency_sigma) if median > 0 else 0.0
        )

    def report(self) -> dict[str, Any]:
        """The counts since they were last cleared, requests in flight, and what the limits would admit."""
        return {
            **self.counts.report(time.monotonic()),
            "in_flight": self.in_flight,
            "remaining": self.limiter.remaining(),
        }


class Endpoint:
    """All routes."""

    def __init__(self) -> None:
        self.routes = {"chat": Route(), "embeddings": Route()}

    def answer(self, connection: Connection, method: bytes, path: bytes, body: bytes) -> None:
        """Answer one request on its connection, now or later."""
        if path == b"/v1/chat/completions":
            self._chat(connection, body)
        elif path == b"/v1/embeddings":
            self._embeddings(connection, orjson.loads(body))
        elif path == b"/v1/models":
            models = [model_entry(name) for name in MODELS]
            connection.send_json(200, {"object": "list", "data": models})
        elif path == b"/health":
            connection.send_json(200, {})
        elif path == b"/control":
            if method == b"DELETE":
                self._reset()
            else:
                self._control(orjson.loads(body))
            controls = {name: route.control.model_dump() for name, route in self.routes.items()}
            connection.send_json(200, controls)
        elif path == b"/stats":
            if method == b"DELETE":
                for route in self.routes.values():
                    route.counts = Counts(time.monotonic())
            connection.send_json(200, {name: route.report() for name, route in self.routes.items()})
        else:
            connection.send_json(404, ApiError(404, f"There is no {path.decode()}.").body)

    def _reset(self) -> None:
        for route in self.routes.values():
            route.control = Control()
            route.limiter = RateLimiter(route.control.limits)

    def _control(self, given: dict[str, dict[str, Any]]) -> None:
        for name, route in self.routes.items():
            if name in given:
                route.behave(Control.model_validate({**route.control.model_dump(), **given[name]}))

    def _chat(self, connection: Connection, received: bytes) -> None:
        request = orjson.loads(received)
        songs = _songs_in(request["messages"][-1]["content"])
        prompt = len(received) // CHARACTERS_PER_TOKEN + 1
        completion_tokens = TOKENS_PER_SONG * len(songs) or 1
        route = self.routes["chat"]
        allowed = request.get("max_completion_tokens") or request.get("max_tokens") or 0
        limits = route.control.limits
        counted = limits.count_tokens(prompt=prompt, answer_limit=allowed, completion=completion_tokens)

        def body() -> list[bytes]:
            content = orjson.dumps({"songs": {song["key"]: entry(song) for song in songs}}).decode()
            usage = Usage(prompt, completion_tokens=completion_tokens)
            return [orjson.dumps(completion(request["model"], content, usage))]

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
    route: Route, connection: Connection, tokens: int, items: int, body: Callable[[], list[bytes]]
) -> None:
    """Answer what the limits admit after the latency, and the rest with an immediate 429.

    The headers say how things stood when the request came in: that is when a provider decides.
    """
    decision = route.limiter.admit(tokens)
    route.counts.add(time.monotonic(), items, tokens, admitted=decision.admitted)
    headers = "".join(f"{name}: {value}\r\n" for name, value in decision.headers.items())
    if not decision.admitted:
        connection.send_json(429, rate_limit_reached(decision.message, decision.exhausted).body, headers)
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
    """The songs that a user's message asks for; [] where it is something else (a client's first probe)."""
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    try:
        songs: list[dict[str, Any]] = orjson.loads(text[text.index('{"songs"') :])["songs"]
    except ValueError:
        return []
    return songs


class Connection(asyncio.Protocol):
    """One keep-alive connection; a client sends its next request when it has the answer."""

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
                self.send_json(400, ApiError(400, repr(wrong)).body)

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

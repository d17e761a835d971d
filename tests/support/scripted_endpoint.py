"""A tiny HTTP server on loopback that replays the answers of a test's script, byte for byte.

It is apart from the stand-in endpoint because it simulates nothing: no limits, no faults, no texts, no bills.
Tests of the client need bodies, headers and broken deliveries that no provider would produce, and compare
requests exactly as they arrived; the stand-in answers only real requests for songs.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
from aiohttp import web


@dataclass(frozen=True)
class Recorded:
    """A request as it arrived; target: path and query as they were sent."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    target: str = ""


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reset:
    """Aborts the connection, before the first byte or after ``sent`` of a longer body."""

    sent: bytes = b""


@dataclass(frozen=True)
class Drip:
    """Sends a byte every hundredth of a second until the client leaves."""


@dataclass(frozen=True)
class Hang:
    """Never answers."""


@dataclass(frozen=True)
class Together:
    """Waits with the answer until so many requests have arrived."""

    answer: Answer
    requests: int


Scripted: TypeAlias = Answer | Reset | Drip | Hang | Together | Callable[[Recorded], Answer]


def answer_json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(json.dumps(body).encode(), status, headers or {})


def error(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
    """An error in OpenAI's form; more: type, param, code."""
    return answer_json({"error": {"message": message, **more}}, status, headers)


def chat_answer(content: str = "hello", headers: Mapping[str, str] | None = None) -> Answer:
    return answer_json(
        {
            "model": "gpt-test-2026-01-01",
            "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {
                "prompt_tokens": 12,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
        },
        headers=headers,
    )


def base64_vector(numbers: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()


def embeddings_answer(embeddings: Mapping[int, object], tokens: int = 7) -> Answer:
    """embeddings: by index, in the order of the answer; base64 text or numbers."""
    data = [{"index": index, "embedding": embedding} for index, embedding in embeddings.items()]
    return answer_json({"data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


class ScriptedEndpoint:
    """An async context manager; ``base_url`` is what a client is given.

    ``requests`` lists what arrived. When the script is used up, ``otherwise`` is the answer.
    """

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.otherwise: Scripted = error(400, "the script of this test is used up")
        self.arrived = asyncio.Event()
        self._script: deque[Scripted] = deque()
        self._closing = asyncio.Event()

    def script(self, *answers: Scripted) -> None:
        self._script.extend(answers)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.method == "POST" else {}
        recorded = Recorded(request.path.removeprefix("/v1"), request.headers.copy(), body, request.raw_path)
        self.requests.append(recorded)
        self.arrived.set()
        scripted = self._script.popleft() if self._script else self.otherwise
        match scripted:
            case Answer():
                answer = scripted
            case Hang():
                await self._closing.wait()
                answer = error(503, "closing")
            case Together():
                while len(self.requests) < scripted.requests:
                    self.arrived.clear()
                    await self.arrived.wait()
                answer = scripted.answer
            case Reset():
                return await self._reset(request, scripted)
            case Drip():
                return await self._drip(request)
            case _:
                answer = scripted(recorded)
        return web.Response(
            body=answer.body,
            status=answer.status,
            headers={"Content-Type": "application/json", **answer.headers},
        )

    @staticmethod
    async def _reset(request: web.Request, reset: Reset) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        if reset.sent:
            await response.prepare(request)
            await response.write(reset.sent)
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        while not self._closing.is_set():
            await response.write(b" ")
            await asyncio.sleep(0.01)
        return response

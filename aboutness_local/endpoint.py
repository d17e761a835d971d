"""The stand-in endpoint: speaks the OpenAI wire over real HTTP, on loopback only.

Its texts come from writer.py and its vectors from the same small embedding model; nothing here is a language
model, and every chat answer says so in its system_fingerprint. Run it with
``python -m aboutness_local.endpoint --port 8400``. Below ``/v1`` it is the API; ``/control`` and
``/requests`` let tests ask for faults and see what was received.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import struct
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from aboutness_local import answers, writer
from aboutness_local.exchange import ApiError, Exchange, Route, model_not_found
from aboutness_local.fault_plan import Control, FaultPlan
from aboutness_local.faults import Fault
from aboutness_local.rate_limit import RateLimit

HOST = "127.0.0.1"
DEFAULT_DIMENSION = 1536
MODELS = ("gpt-6-luna", "text-embedding-3-small")
"""What GET /models lists: the models that are asked for by default. Any other name is accepted too."""

MAX_BODY_BYTES = 64 * 2**20
RECORDED_REQUESTS = 20_000
"""GET /requests lists the latest of them; its counts are of all."""
SECONDS_BETWEEN_LOOKS = 0.05
"""How often a hanging reply looks whether its client has left."""
SECONDS_BETWEEN_BYTES = 0.01
"""Of a reply that drips: an answer to ten songs then takes half a minute."""


def build_app(dimension: int = DEFAULT_DIMENSION) -> web.Application:
    """The whole server; dimension is that of vectors whose request names none."""
    stand_in = StandIn(dimension)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_error_replies])
    app.router.add_post("/v1/chat/completions", stand_in.chat_completions)
    app.router.add_post("/v1/embeddings", stand_in.embeddings)
    app.router.add_get("/v1/models", stand_in.models)
    app.router.add_get("/v1/models/{model}", stand_in.model)
    app.router.add_get("/v1/health", stand_in.health)
    app.router.add_put("/control", stand_in.put_control)
    app.router.add_delete("/control", stand_in.delete_control)
    app.router.add_get("/requests", stand_in.received_requests)
    app.on_startup.append(stand_in.load)
    app.on_shutdown.append(stand_in.release_hanging)
    return app


class StandIn:
    """The handlers, and what they share: the control in force and the record of what was received."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._shutting_down = asyncio.Event()
        self._reset()

    async def load(self, app: web.Application) -> None:
        """Load the model and the banks, so that no request waits for them."""
        writer.write("", "")

    async def release_hanging(self, app: web.Application) -> None:
        """Let no hanging reply hold up the end of the server."""
        self._shutting_down.set()

    async def chat_completions(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions: the songs of the last user message, answered in the schema's form."""
        return await self._serve(request, "chat", answers.complete)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/embeddings: vectors of one text or of many."""
        return await self._serve(request, "embeddings", self._embed)

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        _authorize(request)
        return web.json_response({"object": "list", "data": [_model(name) for name in MODELS]})

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/{model}."""
        _authorize(request)
        return web.json_response(_model(_known_model(request.match_info["model"])))

    async def health(self, request: web.Request) -> web.Response:
        """GET /v1/health: answers as soon as the model is loaded; needs no key."""
        return web.json_response({"status": "ok"})

    async def put_control(self, request: web.Request) -> web.Response:
        """PUT /control: behave so from now on; the record stays."""
        try:
            self._obey(Control.model_validate_json(await request.read()))
        except ValidationError as error:
            raise ApiError(400, str(error)) from None
        return web.json_response({"status": "ok"})

    async def delete_control(self, request: web.Request) -> web.Response:
        """DELETE /control: honest again, at once and without limits, with an empty record."""
        self._reset()
        return web.json_response({"status": "ok"})

    async def received_requests(self, request: web.Request) -> web.Response:
        """GET /requests: what was received since the last DELETE /control, oldest first, and its counts."""
        return web.json_response({"counts": self._counts, "requests": list(self._received)})

    def _reset(self) -> None:
        self._received: deque[dict[str, Any]] = deque(maxlen=RECORDED_REQUESTS)
        self._counts = {name: Counter[str]() for name in ("requests", "items", "faults", "statuses")}
        self._obey(Control())

    def _obey(self, control: Control) -> None:
        self._plan = FaultPlan(control)
        latency = control.latency_seconds
        self._latency: dict[Route, float] = {"chat": latency.chat, "embeddings": latency.embeddings}
        routes: tuple[Route, ...] = ("chat", "embeddings")
        self._limits = {
            route: RateLimit(control.requests_per_minute, control.tokens_per_minute) for route in routes
        }

    async def _serve(
        self, request: web.Request, route: Route, answer: Callable[[Exchange], None]
    ) -> web.StreamResponse:
        exchange, fault, latency = Exchange(route), None, 0.0
        try:
            _authorize(request)
            exchange.request = await _read_document(request)
            _known_model(exchange.request.get("model"))
            tokens = answers.read_songs(exchange) if route == "chat" else answers.read_inputs(exchange)
            exchange.headers.update(self._limits[route].admit(tokens))
            latency = self._latency[route]
            answer(exchange)
            fault = self._plan.choose(exchange)
            if fault:
                self._plan.inject(fault, exchange)
        except ApiError as error:
            exchange.fail(error)
        self._record(exchange, fault)
        await asyncio.sleep(latency)
        return await self._deliver(request, exchange)

    def _embed(self, exchange: Exchange) -> None:
        answers.embed(exchange, self._dimension)

    def _record(self, exchange: Exchange, fault: Fault | None) -> None:
        status = None if exchange.delivery in ("reset", "hang") else exchange.status
        entry: dict[str, Any] = {"route": exchange.route, "status": status, "fault": fault and fault.name}
        if exchange.route == "chat":
            entry["songs"] = [{"title": song["title"], "artist": song["artist"]} for song in exchange.songs]
        else:
            entry["inputs"] = len(exchange.inputs)
        self._received.append(entry)
        self._counts["requests"][exchange.route] += 1
        self._counts["items"]["songs"] += len(exchange.songs)
        self._counts["items"]["inputs"] += len(exchange.inputs)
        self._counts["statuses"][str(status)] += 1
        if fault:
            self._counts["faults"][fault.name] += 1

    async def _deliver(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        is_html = isinstance(exchange.body, str)
        text = exchange.body if isinstance(exchange.body, str) else json.dumps(exchange.body)
        response = web.Response(
            body=text.encode(),
            status=exchange.status,
            headers=exchange.headers,
            content_type="text/html" if is_html else "application/json",
        )
        if exchange.delivery == "hang":
            await self._wait_until_the_client_leaves(request)
        elif exchange.delivery == "reset":
            _reset_connection(request)
        elif exchange.delivery == "reset_mid_body":
            await _send_half(request, response)
            _reset_connection(request)
        elif exchange.delivery == "drip":
            return await self._drip(request, response)
        return response

    async def _wait_until_the_client_leaves(self, request: web.Request) -> None:
        while self._somebody_waits_for(request):
            await self._pause(SECONDS_BETWEEN_LOOKS)

    async def _drip(self, request: web.Request, whole: web.Response) -> web.StreamResponse:
        assert isinstance(whole.body, bytes)
        dripping = web.StreamResponse(status=whole.status, headers=whole.headers)
        dripping.content_length = len(whole.body)
        await dripping.prepare(request)
        for at in range(len(whole.body)):
            if not self._somebody_waits_for(request):
                break
            await dripping.write(whole.body[at : at + 1])
            await self._pause(SECONDS_BETWEEN_BYTES)
        return dripping

    def _somebody_waits_for(self, request: web.Request) -> bool:
        left = request.transport is None or request.transport.is_closing()
        return not left and not self._shutting_down.is_set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._shutting_down.wait(), seconds)


@web.middleware
async def _error_replies(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body, status=error.status)


def _authorize(request: web.Request) -> None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key.strip():
        message = "You didn't provide an API key. Send it in an Authorization header: Bearer YOUR_KEY."
        raise ApiError(401, message, code="invalid_api_key")
    if key == "wrong":
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "stand-in"}


def _known_model(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ApiError(400, "you must provide a model parameter")
    if name.startswith("missing-"):
        raise model_not_found(name)
    return name


async def _read_document(request: web.Request) -> dict[str, Any]:
    try:
        document = json.loads(await request.read())
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    return document


async def _send_half(request: web.Request, whole: web.Response) -> None:
    assert isinstance(whole.body, bytes)
    half = web.StreamResponse(status=whole.status, headers=whole.headers)
    half.content_length = len(whole.body)
    await half.prepare(request)
    await half.write(whole.body[: len(whole.body) // 2])


def _reset_connection(request: web.Request) -> None:
    """Drop the connection with a TCP reset, as a crashed server or a broken network does."""
    if request.transport:
        connection: socket.socket = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(
        description="The stand-in endpoint of aboutness-local, on loopback only."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--dimension", type=int, default=DEFAULT_DIMENSION, help="of vectors whose request names none"
    )
    arguments = parser.parse_args()
    web.run_app(
        build_app(arguments.dimension),
        host=HOST,
        port=arguments.port,
        access_log=None,
        shutdown_timeout=1,
        print=partial(print, flush=True),  # whoever reads a pipe is told the address at once
    )


if __name__ == "__main__":
    main()

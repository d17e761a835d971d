"""The stand-in endpoint: the simulated provider over real HTTP, on loopback only.

Run it with ``python -m aboutness_local.endpoint --port 8400``. Below ``/v1`` it is OpenAI's API; through
``/control`` tests ask for faults and limits, ``/requests`` and ``/billing`` say what was received and what it
cost.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web
from pydantic import ValidationError

from aboutness_local import writer
from aboutness_local.control import Control
from aboutness_local.exchange import ApiError, Exchange, Route
from aboutness_local.loopback import HOST
from aboutness_local.provider import MODELS, SimulatedProvider, authorize, known_model, model_entry

DEFAULT_DIMENSION = 1536

MAX_BODY_BYTES = 64 * 2**20
SECONDS_BETWEEN_LOOKS = 0.05
"""How often a hanging reply looks whether its client has left."""
SECONDS_BETWEEN_BYTES = 0.01
"""Of a reply that drips: an answer to ten songs then takes half a minute."""


def build_app(dimension: int = DEFAULT_DIMENSION) -> web.Application:
    """The whole server; dimension: of vectors whose request asks for none."""
    stand_in = StandIn(SimulatedProvider(dimension))
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_error_replies])
    app.router.add_post("/v1/chat/completions", stand_in.chat_completions)
    app.router.add_post("/v1/embeddings", stand_in.embeddings)
    app.router.add_get("/v1/models", stand_in.models)
    app.router.add_get("/v1/models/{model}", stand_in.model)
    app.router.add_get("/v1/health", stand_in.health)
    app.router.add_put("/control", stand_in.put_control)
    app.router.add_delete("/control", stand_in.delete_control)
    app.router.add_get("/requests", stand_in.received_requests)
    app.router.add_get("/billing", stand_in.billing)
    app.on_startup.append(stand_in.load)
    app.on_shutdown.append(stand_in.release_hanging)
    return app


class StandIn:
    """The handlers of one provider; they carry its replies, whole or broken."""

    def __init__(self, provider: SimulatedProvider) -> None:
        self._provider = provider
        self._shutting_down = asyncio.Event()
        self._in_progress: set[asyncio.Task[None]] = set()

    async def load(self, app: web.Application) -> None:
        """Load the model and the phrase banks, so that no request waits for them."""
        writer.write("", "")

    async def release_hanging(self, app: web.Application) -> None:
        """End the hanging replies, so that the server can stop."""
        self._shutting_down.set()

    async def chat_completions(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions: the songs of the last user message, answered in the schema's form."""
        return await self._serve(request, "chat")

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/embeddings: vectors of one text or of many."""
        return await self._serve(request, "embeddings")

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        authorize(_authorization(request))
        return web.json_response({"object": "list", "data": [model_entry(name) for name in MODELS]})

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/{model}."""
        authorize(_authorization(request))
        return web.json_response(model_entry(known_model(request.match_info["model"])))

    async def health(self, request: web.Request) -> web.Response:
        """GET /v1/health: answers as soon as the model is loaded; needs no key."""
        return web.json_response({"status": "ok"})

    async def put_control(self, request: web.Request) -> web.Response:
        """PUT /control: behave so from now on; the record and the bills stay."""
        try:
            self._provider.obey(Control.model_validate_json(await request.read()))
        except ValidationError as error:
            raise ApiError(400, str(error)) from None
        return web.json_response({"status": "ok"})

    async def delete_control(self, request: web.Request) -> web.Response:
        """DELETE /control: honest again, immediate, unlimited and free, with an empty record and no bills."""
        self._provider.reset()
        return web.json_response({"status": "ok"})

    async def received_requests(self, request: web.Request) -> web.Response:
        """GET /requests: what was received since the last DELETE /control, oldest first, and its counts."""
        return web.json_response(self._provider.record())

    async def billing(self, request: web.Request) -> web.Response:
        """GET /billing: what was billed since the last DELETE /control; see Billing.report."""
        return web.json_response(self._provider.billing.report())

    async def _serve(self, request: web.Request, route: Route) -> web.StreamResponse:
        exchange = self._provider.receive(route, _authorization(request), await request.read())
        work = asyncio.create_task(self._work(exchange))
        self._in_progress.add(work)
        work.add_done_callback(self._in_progress.discard)
        # A client that leaves cancels this handler, and not the work: that is finished and billed.
        await asyncio.shield(work)
        return await self._deliver(request, exchange)

    async def _work(self, exchange: Exchange) -> None:
        with self._provider.billing.working_on(exchange, self._provider.control.prices):
            await asyncio.sleep(exchange.latency_seconds)

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


def _authorization(request: web.Request) -> str:
    return request.headers.get("Authorization", "")


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
        "--dimension", type=int, default=DEFAULT_DIMENSION, help="of vectors whose request asks for none"
    )
    arguments = parser.parse_args()
    web.run_app(
        build_app(arguments.dimension),
        host=HOST,
        port=arguments.port,
        access_log=None,
        shutdown_timeout=1,
        print=partial(print, flush=True),  # a reader of the pipe gets the address immediately
    )


if __name__ == "__main__":
    main()

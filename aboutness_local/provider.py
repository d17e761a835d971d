"""The simulated provider: what it answers, limits, breaks and bills. No HTTP, no waiting.

Its texts come from writer.py and its vectors from the same small embedding model; nothing here is a language
model, and every chat answer says so in its system_fingerprint.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from aboutness_local import answers
from aboutness_local.billing import Billing
from aboutness_local.control import Control
from aboutness_local.exchange import (
    ROUTES,
    ApiError,
    Exchange,
    Route,
    model_not_found,
    rate_limit_reached,
)
from aboutness_local.fault_plan import FaultPlan
from aboutness_local.rate_limit import RateLimiter
from aboutness_local.token_rules import token_rule

MODELS = ("gpt-6-luna", "text-embedding-3-small", "stand-in-writer", "stand-in-wordllama")
"""What GET /models lists: those asked for by default, and by aboutness-local. Any other name works too."""

RECORDED_REQUESTS = 20_000
"""The record lists the latest of them; its counts are of all."""


class SimulatedProvider:
    """Decides about requests in the order of their arrival.

    dimension: of vectors whose request asks for none. clock: seconds, for the rate limits.
    """

    def __init__(self, dimension: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._dimension = dimension
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Be honest, immediate, unlimited and free of charge, with an empty record and no bills."""
        self._received: deque[dict[str, Any]] = deque(maxlen=RECORDED_REQUESTS)
        self._counts = {name: Counter[str]() for name in ("requests", "items", "faults", "statuses")}
        self.billing = Billing()
        self.obey(Control())

    def obey(self, control: Control) -> None:
        """Behave so from now on; the record and the bills stay."""
        self.control = control
        self._plan = FaultPlan(control)
        self._limiters = {route: RateLimiter(control.limits, self._clock) for route in ROUTES}

    def receive(self, route: Route, authorization: str, body: bytes) -> Exchange:
        """The reply to a request, an error or not; authorization is the value of that header."""
        exchange = Exchange(route)
        try:
            authorize(authorization)
            exchange.request = _read_document(body)
            known_model(exchange.request.get("model"))
            self._refuse_parameters(exchange)
            self._answer(exchange)
            self._limit(exchange)
            exchange.latency_seconds = getattr(self.control.latency_seconds, route)
            if fault := self._plan.choose(exchange):
                self._plan.inject(fault, exchange)
        except ApiError as error:
            exchange.fail(error)
        self._record(exchange)
        return exchange

    def record(self) -> dict[str, Any]:
        """What was received since the last reset, oldest first, and its counts."""
        return {"counts": self._counts, "requests": list(self._received)}

    def _refuse_parameters(self, exchange: Exchange) -> None:
        for name in self.control.refused_parameters:
            if name in exchange.request:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                raise ApiError(400, message, param=name, code="unsupported_parameter")

    def _answer(self, exchange: Exchange) -> None:
        tokens = token_rule(self.control.tokens)
        if exchange.route == "chat":
            answers.read_service_tier(exchange)
            answers.read_songs(exchange)
            answers.complete(
                exchange,
                length=self.control.answer_length,
                cached_share=self.control.cached_share,
                tokens=tokens,
            )
        else:
            answers.read_inputs(exchange)
            answers.embed(exchange, self._dimension, tokens)

    def _limit(self, exchange: Exchange) -> None:
        assert exchange.usage
        tokens = self.control.limits.count_tokens(
            prompt=exchange.usage.prompt_tokens,
            answer_limit=answers.answer_limit(exchange.request),
            completion=exchange.usage.completion_tokens,
        )
        decision = self._limiters[exchange.route].admit(tokens)
        exchange.headers.update(decision.headers)
        if not decision.admitted:
            raise rate_limit_reached(decision.message, decision.exhausted)

    def _record(self, exchange: Exchange) -> None:
        status = None if exchange.delivery in ("reset", "hang") else exchange.status
        entry: dict[str, Any] = {"route": exchange.route, "status": status, "fault": exchange.fault}
        if exchange.route == "chat":
            entry["is_cut"] = exchange.is_cut
            entry["songs"] = [{"title": song["title"], "artist": song["artist"]} for song in exchange.songs]
        else:
            entry["inputs"] = len(exchange.inputs)
        self._received.append(entry)
        self._counts["requests"][exchange.route] += 1
        self._counts["items"]["songs"] += len(exchange.songs)
        self._counts["items"]["inputs"] += len(exchange.inputs)
        self._counts["statuses"][str(status)] += 1
        if exchange.fault:
            self._counts["faults"][exchange.fault] += 1


def authorize(authorization: str) -> None:
    """Accept any key but an empty one and ``wrong``; raises ApiError 401."""
    scheme, _, key = authorization.partition(" ")
    if scheme != "Bearer" or not key.strip():
        message = "You didn't provide an API key. Send it in an Authorization header: Bearer YOUR_KEY."
        raise ApiError(401, message, code="invalid_api_key")
    if key == "wrong":
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


def known_model(name: Any) -> str:
    """Accept any name but those that begin with ``missing-``; raises ApiError 400 or 404."""
    if not isinstance(name, str) or not name:
        raise ApiError(400, "you must provide a model parameter")
    if name.startswith("missing-"):
        raise model_not_found(name)
    return name


def model_entry(name: str) -> dict[str, Any]:
    """A model as GET /models has it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "stand-in"}


def _read_document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    return document

"""Applies a case's rules to the requests at a scripted endpoint; the simulated provider answers the rest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from aboutness_local.exchange import Exchange, Route
from aboutness_local.provider import SimulatedProvider
from tests.endpoints.case import Request, Rule
from tests.support.scripted_endpoint import Answer, Recorded

DIMENSION = 8
"""Of the vectors, and of the tests' columns."""

_SONGS = '{"songs":'


def answering(rules: Sequence[Rule]) -> Callable[[Recorded], Answer]:
    """What a scripted endpoint answers under these rules."""
    provider = SimulatedProvider(DIMENSION)
    numbers: Counter[Route] = Counter()

    def answer(recorded: Recorded) -> Answer:
        route: Route = "embeddings" if recorded.path.endswith("/embeddings") else "chat"
        numbers[route] += 1
        songs = tuple(song["title"] for song in songs_of(recorded.body)) if route == "chat" else ()
        request = Request(route, numbers[route], recorded.body, recorded.headers, recorded.target, songs)
        rule = next((rule for rule in rules if rule.when(request)), None)
        if rule is None:
            return _whole(_honest(provider, request))
        if isinstance(rule.then, Answer):
            return rule.then
        exchange = _honest(provider, request)
        assert exchange.status == 200, exchange.body
        return rule.then(request, cast(dict[str, Any], exchange.body))

    return answer


def songs_of(body: dict[str, Any]) -> list[dict[str, str]]:
    """The songs of a chat request: the JSON document at the end of its last user message."""
    last = [message for message in body["messages"] if message["role"] == "user"][-1]["content"]
    songs: list[dict[str, str]] = json.loads(last[last.rindex(_SONGS) :])["songs"]
    return songs


def _honest(provider: SimulatedProvider, request: Request) -> Exchange:
    body = dict(request.body)
    if request.route == "chat":
        songs = json.dumps({"songs": songs_of(body)})
        body["messages"] = [*body["messages"][:-1], {"role": "user", "content": songs}]
    return provider.receive(request.route, "Bearer any", json.dumps(body).encode())


def _whole(exchange: Exchange) -> Answer:
    return Answer(json.dumps(exchange.body).encode(), exchange.status, exchange.headers)

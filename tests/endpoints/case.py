"""What a case of the table says: how an endpoint answers, and what a run does then.

A case belongs to a provider of ``tests/endpoints/cases``. Whatever its rules leave alone is answered as
OpenAI would, by the simulated provider.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aboutness_assets.domain.songs import Cause
from aboutness_local.exchange import Route
from tests.support.scripted_endpoint import Answer


@dataclass(frozen=True)
class Request:
    """A request at the endpoint.

    number: of its route, from 1. target: path and query as they were sent. songs: titles of a chat request.
    """

    route: Route
    number: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    target: str
    songs: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The texts of an embedding request."""
        found: list[str] = self.body.get("input", [])
        return found


When: TypeAlias = Callable[[Request], bool]
Then: TypeAlias = Answer | Callable[[Request, dict[str, Any]], Answer]
"""An answer, or what makes one of the request and of the body that OpenAI would answer."""


@dataclass(frozen=True)
class Rule:
    """What the endpoint answers to some requests; of several rules the first that fits."""

    when: When
    then: Then


@dataclass(frozen=True)
class Fills:
    """Every song gets its row.

    more_requests: at most so many more than at an endpoint that takes and answers everything. warns: what a
    warning in the log quotes.
    """

    more_requests: int = 0
    warns: str = ""


@dataclass(frozen=True)
class FailsAlone:
    """One song fails, for one of these causes and with the provider's words; every other one gets its row."""

    says: str
    causes: tuple[Cause, ...] = ("refused", "content_filter")
    title: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or UNWELCOME)


@dataclass(frozen=True)
class Stops:
    """The run stops with a sentence that quotes this and blames no song; when all is well again, it fills."""

    says: str
    requests: int = 20


Expected: TypeAlias = Fills | FailsAlone | Stops


@dataclass(frozen=True)
class Case:
    """One row of the table.

    what: what the endpoint does, as half a sentence of the document. source: where it is documented or was
    reported; '' where it was thought up. path: of the base URL. settings: of the run, beyond the usual.
    """

    what: str
    source: str
    rules: tuple[Rule, ...]
    expected: Expected
    songs: int = 12
    path: str = "/v1"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provider:
    """All cases of a provider or a program.

    base_url: what OPENAI_BASE_URL is set to. notes: what else a user has to know, whole sentences. real: what
    a test runs of the real thing, '' where nothing of it can be had.
    """

    name: str
    base_url: str
    cases: tuple[Case, ...]
    notes: str = ""
    real: str = ""


UNWELCOME = "Blowin' in the Wind"
"""The title that a provider refuses where it refuses one, in one of the first requests of a run."""


# What a rule is about.


def always(request: Request) -> bool:
    """Every request."""
    return True


def chat(request: Request) -> bool:
    """Chat requests."""
    return request.route == "chat"


def embeddings(request: Request) -> bool:
    """Embedding requests."""
    return request.route == "embeddings"


def json_schema(request: Request) -> bool:
    """Chat requests with a schema for the answer."""
    return (request.body.get("response_format") or {}).get("type") == "json_schema"


def unwelcome(request: Request) -> bool:
    """Chat requests about the unwelcome title."""
    return UNWELCOME in request.songs


def system_message(request: Request) -> bool:
    """Chat requests with a message of the system."""
    return any(message["role"] in ("system", "developer") for message in request.body.get("messages", ()))


def carries(name: str) -> When:
    """Requests with a parameter."""
    return lambda request: name in request.body


def either(*conditions: When) -> When:
    """Requests that fit one of these."""
    return lambda request: any(fits(request) for fits in conditions)


def both(*conditions: When) -> When:
    """Requests that fit all of these."""
    return lambda request: all(fits(request) for fits in conditions)


def unless(condition: When) -> When:
    """All other requests."""
    return lambda request: not condition(request)


def first(number: int, condition: When = chat) -> When:
    """The first requests that fit, so many of their route."""
    return lambda request: condition(request) and request.number <= number


def after(number: int, condition: When = chat) -> When:
    """All requests that fit, but the first of their route."""
    return lambda request: condition(request) and request.number > number


def songs_above(number: int) -> When:
    """Chat requests about more songs than so many."""
    return lambda request: len(request.songs) > number


def texts_above(number: int) -> When:
    """Embedding requests with more texts than so many."""
    return lambda request: len(request.texts) > number


# What it is answered.


def error(status: int, body: object, **headers: str) -> Answer:
    """An error with a JSON body; headers with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps(body, ensure_ascii=False).encode(), status, named)


def openai_error(
    status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **headers: str
) -> Answer:
    """An error in OpenAI's form."""
    return error(
        status, {"error": {"message": message, "type": kind, "param": None, "code": code}}, **headers
    )


def html(status: int, title: str, text: str = "") -> Answer:
    """A page of a firewall or a gateway."""
    page = (
        f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1>{text}</body></html>"
    )
    return Answer(page.encode(), status, {"Content-Type": "text/html; charset=utf-8"})


def changed(change: Callable[[dict[str, Any]], None]) -> Then:
    """OpenAI's answer, with its body changed."""

    def answer(request: Request, body: dict[str, Any]) -> Answer:
        change(body)
        return error(200, body)

    return answer


def message_changed(change: Callable[[dict[str, Any]], None]) -> Then:
    """OpenAI's chat answer, with its message changed."""
    return changed(lambda body: change(body["choices"][0]["message"]))

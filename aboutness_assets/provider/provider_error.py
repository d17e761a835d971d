"""What the body of an answer says of an error, in whatever form a provider or a gateway writes it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aboutness_assets.domain.printable import printable_line
from aboutness_assets.limits.headers import parse_duration, parse_number
from aboutness_assets.provider.wire import as_dict, parse_json

MAX_MESSAGE_CHARACTERS = 300
_MAX_SEARCHED_CHARACTERS = 20_000

_CONTENT_FILTER = re.compile(
    r"content[_ -]?(filter|policy|management)|responsible_?ai|data_?inspection|sensitive_?content",
    re.IGNORECASE,
)
# OpenAI's guide to flex processing names this error but shows no body: either spelling counts, in any field.
_NO_CAPACITY = re.compile(r"resource[_ ]unavailable", re.IGNORECASE)
_SECRET = re.compile(r"\bsk-[\w*.-]{4,}|\bBearer\s+\S+", re.IGNORECASE)

_MESSAGES = ("message", "msg", "detail", "error_msg", "error_message", "description", "reason", "title")
_CODES = ("code", "status", "status_code", "http_status", "error_code")
_WAITS = ("retry_after", "retry_after_seconds", "retryAfter")
_STATUS_OF_NAME = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "bad_request": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "unauthenticated": 401,
    "unauthorized": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "forbidden": 403,
    "not_found": 404,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
}
"""Names of errors of OpenAI, Anthropic and Google (their API references) with the status each stands for."""

# "Please try again in 6m12.5s", "retry after 20 seconds", "retryDelay": "12s"
_WAIT = re.compile(
    r"(?:try again|retry|retry[_ -]?after|retry[_ -]?delay|wait|resets?)\b[^\d\n]{0,40}?"
    r"((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)\b\s*)"
    r"|(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)",
    re.IGNORECASE,
)
_WORD_OF_UNIT = re.compile(r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)$", re.I)


@dataclass(frozen=True, slots=True)
class ProviderError:
    """The error that a provider's answer states.

    message: for people, short and without secrets. said: all of it with its names. text: the whole body too,
    to search in, never to show. names: its codes and types, in lower case. status_stated: the HTTP status
    that it states, None where it states none; status: that, or the one that its name stands for.
    is_stated: whether the body is a JSON document that states an error, not a gateway's page. has_words:
    whether it says what is wrong. is_no_capacity: whether it says that the tier has no capacity now (of a
    429 to a request for a cheaper tier). wait: seconds that its words ask for, None where they name none.
    """

    message: str
    said: str
    text: str
    names: frozenset[str]
    status: int | None
    status_stated: int | None
    is_content_filter: bool
    is_stated: bool
    has_words: bool
    is_no_capacity: bool
    wait: float | None

    @classmethod
    def read(cls, raw: bytes, api_key: str) -> Self:
        """Understands what stands under ``error``, in an array, flat, in the first choice, or as plain text.

        OpenAI's form is {"error": {message, type, param, code}}. Raises nothing.
        """
        body = parse_json(raw)
        error = _stated_error(body)
        whole = raw[:_MAX_SEARCHED_CHARACTERS].decode(errors="replace")
        said = _message_of(error) or whole
        message = said or "no reason given"
        inner = as_dict(error.get("innererror"))
        names = frozenset(
            str(value).lower()
            for value in (error.get("code"), error.get("type"), error.get("status"), inner.get("code"))
            if isinstance(value, str | int) and not isinstance(value, bool)
        )
        labels = " ".join(sorted(names))
        stated = _stated_status(error)
        return cls(
            message=_for_people(message, api_key),
            said=f"{message} {labels}",
            text=f"{message} {error.get('param')} {labels} {whole}",
            names=names,
            status=stated or _status_of_name(names),
            status_stated=stated,
            is_content_filter=_CONTENT_FILTER.search(labels) is not None,
            is_stated=isinstance(body, dict | list) and bool(error),
            has_words=bool(_message_of(error)),
            is_no_capacity=_NO_CAPACITY.search(f"{labels} {message}") is not None,
            wait=_wait_of(error, f"{message} {whole}"),
        )


def _stated_error(body: object) -> dict[str, Any]:
    """The object that tells of the error; {} where the body is no JSON object or array of them."""
    if isinstance(body, list):
        body = next((item for item in body if isinstance(item, dict)), None)
    if not isinstance(body, dict):
        return {}
    for place in _places(body):
        stated = place[0] if isinstance(place, list) and place else place
        if isinstance(stated, dict) and stated:
            return {**stated, **{name: body[name] for name in _CODES if name in body and name not in stated}}
        if isinstance(stated, str) and stated:
            return {**body, "message": stated}
    choice = _first_choice(body)
    if choice.get("finish_reason") == "error":
        return {"message": as_dict(choice.get("message")).get("content") or "finish_reason is error"}
    return body


def _places(body: Mapping[str, Any]) -> Iterator[object]:
    yield body.get("error")
    yield body.get("errors")
    yield _first_choice(body).get("error")


def _first_choice(body: Mapping[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    return as_dict(choices[0]) if isinstance(choices, list) and choices else {}


def _message_of(error: Mapping[str, Any]) -> str:
    """What is said for people, with what the provider behind a gateway said (OpenRouter: metadata.raw)."""
    said = next((text for name in _MESSAGES if (text := _words(error.get(name)))), "")
    behind = as_dict(error.get("metadata")).get("raw")
    return f"{said}: {behind}" if said and isinstance(behind, str) and behind else said


def _words(value: object, depth: int = 3) -> str:
    """A text, or the texts of a list of complaints (FastAPI: [{"loc": …, "msg": …}]), to some depth."""
    if isinstance(value, str):
        return value
    if not depth:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_words(item, depth - 1) for item in value)))
    members = as_dict(value)
    return next((text for name in _MESSAGES if (text := _words(members.get(name), depth - 1))), "")


def _stated_status(error: Mapping[str, Any]) -> int | None:
    for name in _CODES:
        code = error.get(name)
        if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
            code = int(code)
        if type(code) is int and 400 <= code <= 599:
            return code
    return None


def _status_of_name(names: frozenset[str]) -> int | None:
    return next((_STATUS_OF_NAME[name] for name in sorted(names) if name in _STATUS_OF_NAME), None)


def _wait_of(error: Mapping[str, Any], text: str) -> float | None:
    waits = [
        parse_number(str(seconds)) for name in _WAITS if type(seconds := error.get(name)) in (int, float, str)
    ]
    for found in _WAIT.finditer(text):
        duration = re.sub(r"\s+", "", found[1])
        unit = _WORD_OF_UNIT.search(duration)
        if unit is not None and len(unit[1]) > 1 and unit[1].lower() != "ms":
            short = "ms" if unit[1].lower().startswith("milli") else unit[1][0].lower()
            duration = duration[: unit.start()] + short
        waits.append(parse_duration(duration.lower()))
    return max((wait for wait in waits if wait), default=None)


def _for_people(text: str, api_key: str) -> str:
    """A provider's text on one printable line, without keys, at most MAX_MESSAGE_CHARACTERS long."""
    text = _SECRET.sub("[secret]", printable_line(text).replace(printable_line(api_key), "[secret]"))
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"

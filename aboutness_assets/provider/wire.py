"""Reads the bodies of answers, whatever parts of them are missing or of another type."""

import binascii
import json
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import orjson
import pybase64
from numpy.typing import NDArray

from aboutness_assets.domain.chat import ChatAnswer, Usage
from aboutness_assets.domain.errors import UnparsableAnswer
from aboutness_assets.provider.message_parts import read_content, read_reasoning, read_refusal

Vector: TypeAlias = NDArray[np.float32]

_MAX_DIGITS = 10  # of an index
_MAX_COUNT = 2**31 - 1  # tokens of one answer; no ledger takes more, and no provider means it

# Of Anthropic, Gemini, Mistral and the Responses API, as gateways pass them on.
_CUT_BY_LIMIT = {"length", "max_tokens", "model_length", "max_output_tokens", "max_length"}


@dataclass(frozen=True, slots=True)
class NoVector:
    """In place of a vector that cannot be used.

    reason: half a sentence about it. is_refused: whether the provider refuses the text.
    """

    reason: str
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingsAnswer:
    """One vector (read-only, any length) per text, by position.

    usage: as the provider counted it, None where it did not say. service_tier: as the answer states it.
    is_contradictory: whether it does not tell which vector is whose; then none is given.
    """

    vectors: list[Vector | NoVector]
    usage: Usage | None
    service_tier: str | None
    is_contradictory: bool = False


def read_chat_body(raw: bytes) -> ChatAnswer:
    """Reads the body of a chat answer, one that has just arrived and one that was kept alike.

    Raises UnparsableAnswer when it is not a JSON object with ``choices``, or states an error.
    """
    body = parse_object(raw)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UnparsableAnswer("The answer to a chat request holds no choices.")
    choice = as_dict(choices[0])
    if body.get("error") or choice.get("error") or choice.get("finish_reason") == "error":
        raise UnparsableAnswer("The answer to a chat request states an error.")
    message = as_dict(choice.get("message"))
    content, reasoning = read_content(message), read_reasoning(message)
    return ChatAnswer(
        content=content,
        finish_reason=_finish_reason(choice.get("finish_reason")),
        refusal=read_refusal(message),
        usage=_usage(body, answer_is_billed=bool(content or reasoning)),
        model=_text(body.get("model")),
        service_tier=_text(body.get("service_tier")),
        reasoning=reasoning,
    )


def read_embeddings_body(raw: bytes, texts: int) -> EmbeddingsAnswer:
    """Reads the body of an answer to so many texts: base64 (little-endian float32) or floats.

    Vectors stand by ``index``; where as many came as were asked for and no index tells them apart (missing,
    no number, all the same), by position. Indexes that are given twice or name no text contradict the others.
    Raises UnparsableAnswer when the body is not a JSON object with a list ``data``.
    """
    body = parse_object(raw)
    data = body.get("data")
    if not isinstance(data, list):
        raise UnparsableAnswer("The answer to an embedding request holds no list named data.")
    items = [as_dict(item) for item in data]
    positions = _positions([_index(item.get("index")) for item in items], texts)
    is_contradictory = positions is None
    vectors: list[Vector | NoVector] = [
        NoVector(
            "the indexes of the answer contradict each other" if is_contradictory else "none came back for it"
        )
    ] * texts
    for position, item in zip(positions or (), items, strict=not is_contradictory):
        vectors[position] = _read_vector(item.get("embedding"))
    return EmbeddingsAnswer(
        vectors,
        _usage(body, answer_is_billed=False),
        _text(body.get("service_tier")),
        is_contradictory=is_contradictory,
    )


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object. Raises UnparsableAnswer."""
    body = parse_json(raw)
    if not isinstance(body, dict):
        raise UnparsableAnswer("The body of the answer is not a JSON object.")
    return body


def parse_json(raw: bytes) -> object:
    """A JSON value; None where it is none."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _parse_leniently(raw)


def read_usage(raw: bytes) -> tuple[Usage | None, str | None]:
    """What a body that is no answer says it used, and in which tier: it may be billed all the same."""
    body = as_dict(parse_json(raw))
    return _usage(body, answer_is_billed=False), _text(body.get("service_tier"))


def as_dict(value: object) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _usage(body: dict[str, Any], *, answer_is_billed: bool) -> Usage | None:
    """The body's ``usage``; None where it states no count at all.

    answer_is_billed: whether a count of completion tokens above 0 has to be there.
    """
    stated = body.get("usage")
    if not isinstance(stated, dict) or not {"prompt_tokens", "completion_tokens"} & stated.keys():
        return None
    details = as_dict(stated.get("prompt_tokens_details"))
    prompt, completion, cached, cache_write = (
        _count(count)
        for count in (
            stated.get("prompt_tokens"),
            stated.get("completion_tokens", 0),
            details.get("cached_tokens") or 0,
            details.get("cache_write_tokens") or 0,
        )
    )
    known = None not in (prompt, completion, cached, cache_write)
    prompt, completion, cached, cache_write = prompt or 0, completion or 0, cached or 0, cache_write or 0
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=min(cached, prompt),
        cache_write_tokens=min(cache_write, max(prompt - cached, 0)),
        is_credible=known
        and prompt > 0
        and (completion > 0 or not answer_is_billed)
        and cached + cache_write <= prompt,
    )


def _parse_leniently(raw: bytes) -> Any:
    """What Python's own reader makes of it: it takes NaN and lone surrogates, which orjson refuses."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _index(value: object) -> int | None:
    """A whole number in any spelling; None where it is something else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _MAX_DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _positions(indexes: list[int | None], texts: int) -> list[int] | None:
    """Which text each item is about; None where that cannot be told."""
    stated = [index for index in indexes if index is not None]
    if len(indexes) == texts and len(set(stated)) <= 1 and (len(stated) in (0, texts)):
        return list(range(texts))
    free = set(range(texts)) - set(stated)
    if len(stated) == len(indexes) - 1 and len(indexes) == texts and len(free) == 1:
        [last] = free  # some serializers leave out a 0
        return [last if index is None else index for index in indexes]
    is_clear = len(stated) == len(indexes) == len(set(stated)) and all(0 <= index < texts for index in stated)
    return stated if is_clear else None


def _read_vector(embedding: object) -> Vector | NoVector:
    try:
        if isinstance(embedding, str):
            return np.frombuffer(pybase64.b64decode(embedding, validate=True), "<f4")
        if isinstance(embedding, list):
            with np.errstate(over="ignore"):  # a number beyond float32 becomes inf, which no one takes
                vector = np.asarray(embedding, dtype=np.float32)
            vector.flags.writeable = False
            if vector.ndim == 1:
                return vector
    except (ValueError, TypeError, OverflowError, binascii.Error):
        pass
    return NoVector("it is neither base64 of numbers nor a list of numbers")


def _finish_reason(value: object) -> str | None:
    """The reason in OpenAI's words: an answer that its limit ended says so in many ways."""
    stated = _text(value)
    return "length" if stated is not None and stated.casefold() in _CUT_BY_LIMIT else stated


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    """A plausible count of tokens; None for what is missing, negative, absurd or not a whole number."""
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None

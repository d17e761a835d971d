"""The one place that speaks HTTP with the provider: time-outs, retries, 429, and what is fatal.

The ``openai`` client carries the requests; it retries nothing itself and parses nothing, so that a raw answer
can be kept before it is read. ``import openai`` takes half a second, so it happens where it is used.
"""

import asyncio
import binascii
import copy
import json
import logging
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

import numpy as np
import orjson
import pybase64
from numpy.typing import NDArray

from aboutness_assets.domain.chat import ChatAnswer, Usage
from aboutness_assets.domain.errors import (
    FatalError,
    ProviderUnavailable,
    RequestRefused,
    SettingsError,
    UnparsableAnswer,
)
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.limits.headers import retry_after
from aboutness_assets.limits.throttle import MAX_PAUSE_SECONDS, Reservation, Throttle

Vector: TypeAlias = NDArray[np.float32]
Kind: TypeAlias = Literal["chat", "embedding"]
T = TypeVar("T")

_PATHS: dict[Kind, str] = {"chat": "/chat/completions", "embedding": "/embeddings"}
JSON_OBJECT_FORMAT = {"type": "json_object"}
"""For endpoints that refuse a json_schema; the prompt says the form in words."""

OPENAI_URL = "https://api.openai.com/v1"
MAX_ATTEMPTS = 5
MAX_MESSAGE_CHARACTERS = 300
_MAX_COUNT = 2**31 - 1  # tokens of one answer; no journal takes more, and no provider means it

# The provider's own codes for an account that cannot pay; HTTP 429, though no waiting helps.
_NO_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached"}
_CONTENT_FILTER = re.compile(r"content[_ -]?(filter|policy)|responsible_?ai", re.IGNORECASE)
_RESPONSE_FORMAT = re.compile(r"response_?format|json_?schema", re.IGNORECASE)
_REASONING_EFFORT = re.compile(r"reasoning[_.]?effort", re.IGNORECASE)
# A 429 that no waiting cures: one request that asks for more than the limit of a whole minute.
_REQUEST_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
_SECRET = re.compile(r"\bsk-[\w*.-]{4,}|\bBearer\s+\S+", re.IGNORECASE)


class ContentFiltered(RequestRefused):
    """The provider's content filter refused the request."""


@dataclass(frozen=True, slots=True)
class EmbeddingsAnswer:
    """One vector (read-only, any length) for each text asked for, by position; None where none could be read.

    tokens: as the provider counted them, 0 where it did not say.
    """

    vectors: list[Vector | None]
    tokens: int


@dataclass(slots=True)
class _Quirks:
    """What the endpoint was seen not to take."""

    json_schema: bool = False
    reasoning_effort: bool = False


@dataclass(slots=True)
class WireCounts:
    """What one client has sent, retries included.

    rate_limited: answers with HTTP 429. seconds_waited: by which those paused all requests of their kind.
    """

    chat_requests: int = 0
    embedding_requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    seconds_waited: float = 0.0


def read_chat_body(raw: bytes) -> ChatAnswer:
    """Reads the body of a chat answer, whatever parts of it are missing.

    Raises UnparsableAnswer when it is not a JSON object.
    """
    body = _parse_object(raw)
    choice = _dict(_first(body.get("choices")))
    message = _dict(choice.get("message"))
    usage = _dict(body.get("usage"))
    return ChatAnswer(
        content=_text(message.get("content")),
        finish_reason=_text(choice.get("finish_reason")),
        refusal=_text(message.get("refusal")),
        usage=Usage(
            prompt_tokens=_count(usage.get("prompt_tokens")),
            cached_tokens=_count(_dict(usage.get("prompt_tokens_details")).get("cached_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
        ),
        model=_text(body.get("model")),
    )


def read_embeddings_body(raw: bytes, texts: int) -> EmbeddingsAnswer:
    """Reads the body of an answer to so many texts: base64 (little-endian float32) or floats, by ``index``.

    An index that is missing, out of bounds or given twice leaves None, as does an unreadable vector. Raises
    UnparsableAnswer when the body is not a JSON object with a list ``data``.
    """
    body = _parse_object(raw)
    data = body.get("data")
    if not isinstance(data, list):
        raise UnparsableAnswer("The answer to an embedding request holds no list named data.")
    vectors: list[Vector | None] = [None] * texts
    seen: set[int] = set()
    for item in map(_dict, data):
        index = item.get("index")
        if type(index) is not int or not 0 <= index < texts:
            continue
        vectors[index] = None if index in seen else _read_vector(item.get("embedding"))
        seen.add(index)
    return EmbeddingsAnswer(vectors, _count(_dict(body.get("usage")).get("prompt_tokens")))


class OpenAIClient:
    """Chat and embedding requests to one OpenAI-compatible endpoint, each kind within its own throttle.

    An async context manager. api_key and base_url: None or '' leave them to the environment (OPENAI_API_KEY,
    OPENAI_BASE_URL) as the ``openai`` client knows it. reasoning_effort: '' is not sent.
    request_timeout_seconds: for one HTTP request, from its sending to the last byte of the answer.
    retry_backoff_seconds: upper bound of the wait before the second attempt; it doubles with each one more.

    Raises SettingsError when there is no key, one that is none, or a base URL that is none.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None,
        chat_model: str,
        reasoning_effort: str,
        embedding_model: str,
        request_timeout_seconds: float,
        chat_throttle: Throttle,
        embedding_throttle: Throttle,
        log: logging.Logger,
        retry_backoff_seconds: float = 1.0,
    ) -> None:
        import openai

        self._api_key = (api_key or os.environ.get("OPENAI_API_KEY", "")).strip()
        if not self._api_key:
            raise SettingsError(
                "OPENAI_API_KEY is not set. Set it to the key of your OpenAI-compatible endpoint, or put "
                "aboutness-local before the command to run it against the stand-in endpoint, without a key."
            )
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise SettingsError(
                "OPENAI_API_KEY holds characters that no request can carry (a line break, perhaps, or a dash "
                "that a word processor made): set it to the key alone."
            )
        self.chat_model = chat_model
        self.embedding_model = embedding_model
        self.counts = WireCounts()
        self._reasoning_effort = reasoning_effort
        self._timeout_seconds = request_timeout_seconds
        self._throttles: dict[Kind, Throttle] = {"chat": chat_throttle, "embedding": embedding_throttle}
        self._log = log
        self._backoff_seconds = retry_backoff_seconds
        self._refuses = _Quirks()
        self._openai = openai.AsyncOpenAI(
            api_key=self._api_key,
            # The client would take an empty OPENAI_BASE_URL, as a .env file leaves it, for an address.
            base_url=base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL,
            max_retries=0,
            timeout=None,  # ours alone: theirs begins anew with every byte that drips in
            # aiohttp's transport costs a third less CPU than the default one; up to 1,000 connections.
            http_client=openai.DefaultAioHttpClient(),
        )
        if self._openai.base_url.scheme not in ("http", "https") or not self._openai.base_url.host:
            raise SettingsError(
                f"OPENAI_BASE_URL is no address of a server. Set it to something like {OPENAI_URL}, "
                "or leave it empty for OpenAI itself."
            )

    def counting_anew(self) -> Self:
        """The same client, for requests that are to be counted by themselves."""
        other = copy.copy(self)
        other.counts = WireCounts()
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._openai.close()

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        before_sending: Callable[[], Awaitable[None]] | None = None,
    ) -> bytes:
        """The raw body of the answer: a JSON object with ``choices``, to be read by ``read_chat_body``.

        estimated_tokens: (prompt, completion). before_sending is awaited each time that a request is let go
        and has not left yet. An endpoint that refuses response_format is asked for a
        json_object from then on, one that refuses reasoning_effort is no longer sent it.

        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        while True:
            body: dict[str, Any] = {
                "model": self.chat_model,
                "messages": messages,
                "response_format": JSON_OBJECT_FORMAT if self._refuses.json_schema else response_format,
            }
            if self._reasoning_effort and not self._refuses.reasoning_effort:
                body["reasoning_effort"] = self._reasoning_effort
            try:
                return await self._send("chat", body, estimated_tokens, _accept_chat, before_sending)
            except _BadRequest as refusal:
                if not self._disable_unsupported_parameter(refusal.provider_text, body):
                    raise

    async def embeddings(
        self, texts: Sequence[str], dimensions: int | None, estimated_tokens: int
    ) -> EmbeddingsAnswer:
        """The vectors of the texts; dimensions is sent unless None.

        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        body: dict[str, Any] = {
            "model": self.embedding_model,
            "input": list(texts),
            "encoding_format": "base64",
        }
        if dimensions is not None:
            body["dimensions"] = dimensions

        def accept(raw: bytes) -> _Accepted[EmbeddingsAnswer]:
            answer = read_embeddings_body(raw, len(texts))
            return _Accepted(answer, answer.tokens, 0)

        return await self._send("embedding", body, (estimated_tokens, 0), accept)

    async def _send(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        accept: Callable[[bytes], "_Accepted[T]"],
        before_sending: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        throttle = self._throttles[kind]
        failures = 0
        async with throttle.slot():
            while True:
                reservation = await throttle.reserve(*estimated_tokens)
                if before_sending is not None:
                    await before_sending()
                self._count_sent(kind)
                reply = await self._exchange(kind, body)
                if reply.status == 429 and not self._waiting_is_useless(reply):
                    await self._pause(kind, reply, reservation)
                    self.counts.rate_limited += 1
                    self.counts.retries += 1
                    continue
                trouble = reply.trouble
                if trouble is None and 200 <= reply.status < 300:
                    try:
                        accepted = accept(reply.body)
                    except UnparsableAnswer as error:
                        trouble = f"HTTP {reply.status} with a body that is no answer ({error})"
                    else:
                        throttle.observe(reply.headers, reservation)
                        if accepted.prompt_tokens:
                            throttle.settle(reservation, accepted.prompt_tokens, accepted.completion_tokens)
                        return accepted.value
                elif trouble is None and (reply.status in (408, 409) or reply.status >= 500):
                    trouble = f"HTTP {reply.status}: {self._provider_error(reply).message}"
                if trouble is None:
                    raise self._refusal(kind, reply)
                failures += 1
                if failures == MAX_ATTEMPTS:
                    raise ProviderUnavailable(
                        f"One {kind} request failed {failures} times in a row, at last with "
                        f"{trouble.rstrip('.')}. "
                        "Run it again when the provider is well."
                    )
                wait = self._backoff(failures, reply.headers)
                self._log.info(
                    "One %s request met %s. It is sent again in %.3g s, %d times more at most.",
                    *(kind, trouble, wait, MAX_ATTEMPTS - failures),
                )
                await asyncio.sleep(wait)
                self.counts.retries += 1

    async def _exchange(self, kind: Kind, body: Mapping[str, Any]) -> "_Reply":
        """One HTTP request and its answer, of any status; what went wrong on the way is in ``trouble``."""
        import aiohttp
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self._timeout_seconds):
                # Its typed methods compare every part of the body with their types first, half the CPU of
                # a chat request (benchmarks/cpu.py); ours is ready as it is.
                response = await self._openai.post(_PATHS[kind], cast_to=httpx2.Response, body=body)
            return _Reply(response.status_code, response.headers, response.content)
        except openai.APIStatusError as error:
            return _Reply(error.status_code, error.response.headers, error.response.content)
        except TimeoutError:
            trouble = f"no whole answer within {self._timeout_seconds:g} s"
        except (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            trouble = f"a broken connection ({_root_cause(error)})"
        return _Reply(0, {}, b"", trouble)

    def _count_sent(self, kind: Kind) -> None:
        if kind == "chat":
            self.counts.chat_requests += 1
        else:
            self.counts.embedding_requests += 1

    async def _pause(self, kind: Kind, reply: "_Reply", reservation: Reservation) -> None:
        pause, asked = await self._throttles[kind].rate_limited(reply.headers, reservation)
        self.counts.seconds_waited += pause.added
        if pause.begins:
            self._log.warning(
                "The provider's rate limit is reached (HTTP 429): all %s requests wait %.3g s%s.",
                kind,
                pause.seconds,
                f", although it asked for {asked:.0f} s" if asked else "",
            )

    def _backoff(self, failures: int, headers: Mapping[str, str]) -> float:
        """Seconds before the next attempt: as the provider says, else doubling, with full jitter."""
        said = retry_after(headers)
        if said is not None:
            return min(said, MAX_PAUSE_SECONDS) + random.uniform(0, self._backoff_seconds)
        return random.uniform(0, self._backoff_seconds * 2 ** (failures - 1))

    def _disable_unsupported_parameter(self, refusal: str, body: Mapping[str, Any]) -> bool:
        """Stops sending what the endpoint just refused; False where the refusal is about something else."""
        if _RESPONSE_FORMAT.search(refusal) and body["response_format"].get("type") == "json_schema":
            if not self._refuses.json_schema:
                self._log.warning("The endpoint refuses json_schema; from now on a json_object is asked for.")
            self._refuses.json_schema = True
            return True
        if _REASONING_EFFORT.search(refusal) and "reasoning_effort" in body:
            if not self._refuses.reasoning_effort:
                self._log.warning(
                    "The endpoint refuses reasoning_effort %r; from now on it is not sent.",
                    self._reasoning_effort,
                )
            self._refuses.reasoning_effort = True
            return True
        return False

    def _waiting_is_useless(self, reply: "_Reply") -> bool:
        """Whether a 429 is about money, or about one request that no minute's limit can hold."""
        error = self._provider_error(reply)
        return error.no_quota or _REQUEST_TOO_LARGE.search(error.text) is not None

    def _refusal(self, kind: Kind, reply: "_Reply") -> FatalError | RequestRefused:
        """What a status that no repetition cures means for the run."""
        error = self._provider_error(reply)
        model, setting = (
            (self.chat_model, "ABOUTNESS_CHAT_MODEL")
            if kind == "chat"
            else (self.embedding_model, "ABOUTNESS_EMBEDDING_MODEL")
        )
        answered = f"(HTTP {reply.status}: {error.message})"
        if error.no_quota or reply.status == 402:
            return FatalError(f"The provider's account has no quota left {answered}. Add credit, run again.")
        if reply.status == 404 or error.code == "model_not_found":
            return FatalError(
                f"The endpoint {self._openai.base_url.host} does not know the {kind} model {model!r} "
                f"{answered}. Set {setting} to a model that it serves, and check OPENAI_BASE_URL."
            )
        if reply.status in (401, 403):
            return FatalError(
                f"The provider does not let us in for the {kind} model {model!r} {answered}. "
                f"Check OPENAI_API_KEY, OPENAI_BASE_URL and {setting}."
            )
        if error.is_content_filter:
            return ContentFiltered(f"The provider's content filter refuses this {kind} request {answered}.")
        return _BadRequest(f"The provider refuses this {kind} request {answered}.", error.text)

    def _provider_error(self, reply: "_Reply") -> "_ProviderError":
        return _ProviderError.read(reply.body, self._api_key)


class _BadRequest(RequestRefused):
    """A refusal with the provider's own words in full, to see what it is that it refuses."""

    def __init__(self, message: str, provider_text: str) -> None:
        super().__init__(message)
        self.provider_text = provider_text


@dataclass(frozen=True, slots=True)
class _Accepted(Generic[T]):
    """What an answer came to, and the tokens that the provider counted for it (0: it did not say)."""

    value: T
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class _Reply:
    """An HTTP answer; status 0 and ``trouble`` (half a sentence) where none came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class _ProviderError:
    """The error that a provider's answer states.

    message: for people, short and without secrets. text: all of it, to search in, never to show.
    """

    message: str
    text: str
    code: str
    no_quota: bool
    is_content_filter: bool

    @classmethod
    def read(cls, raw: bytes, api_key: str) -> Self:
        """Understands OpenAI's form ({"error": {message, type, param, code}}), flat forms and plain text."""
        try:
            body = _parse_object(raw)
        except UnparsableAnswer:
            body = {"message": raw.decode(errors="replace")}
        stated = body.get("error")
        error = _dict(stated) or {"message": stated, **body}
        message = next(
            (str(error[key]) for key in ("message", "detail") if error.get(key)), "no reason given"
        )
        code, kind = str(error.get("code") or ""), str(error.get("type") or "")
        inner_code = str(_dict(error.get("innererror")).get("code") or "")
        return cls(
            message=_for_people(message, api_key),
            text=f"{message} {error.get('param')} {code}",
            code=code,
            no_quota=not _NO_QUOTA_CODES.isdisjoint((code, kind)),
            is_content_filter=_CONTENT_FILTER.search(f"{code} {kind} {inner_code}") is not None,
        )


def _for_people(text: str, api_key: str) -> str:
    """A provider's text, printable_line and without keys, at most MAX_MESSAGE_CHARACTERS long."""
    text = _SECRET.sub("[secret]", printable_line(text).replace(printable_line(api_key), "[secret]"))
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def _root_cause(error: BaseException) -> str:
    """The class name of what first went wrong; the transports wrap each other's errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def _accept_chat(raw: bytes) -> _Accepted[bytes]:
    body = _parse_object(raw)
    if "choices" not in body:
        raise UnparsableAnswer("The answer to a chat request holds no choices.")
    usage = _dict(body.get("usage"))
    return _Accepted(raw, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object. Raises UnparsableAnswer."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = _parse_leniently(raw)
    if not isinstance(body, dict):
        raise UnparsableAnswer("The body of the answer is not a JSON object.")
    return body


def _parse_leniently(raw: bytes) -> Any:
    """What Python's own reader makes of it: it takes NaN and lone surrogates, which orjson refuses."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _read_vector(embedding: object) -> Vector | None:
    try:
        if isinstance(embedding, str):
            return np.frombuffer(pybase64.b64decode(embedding, validate=True), "<f4")
        if isinstance(embedding, list):
            with np.errstate(over="ignore"):  # a number beyond float32 becomes inf, which no one takes
                vector = np.asarray(embedding, dtype=np.float32)
            vector.flags.writeable = False
            return vector if vector.ndim == 1 else None
    except (ValueError, TypeError, OverflowError, binascii.Error):
        pass
    return None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int:
    return value if type(value) is int and 0 < value <= _MAX_COUNT else 0

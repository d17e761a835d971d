"""The faults that the stand-in endpoint injects when a test asks for them.

Each is a small function, named as the control document names it, that alters an honest exchange or raises
ApiError in its place. Where it alters the entry of one song, the song is drawn by the plan's seed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aboutness_assets.local.exchange import ApiError, Exchange, Route, decoded, encoded, model_not_found

Inject: TypeAlias = Callable[[Exchange, Random], None]
Entry: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A fault by name, the routes it can strike, and the exchanges on which it has any effect."""

    name: str
    routes: tuple[Route, ...]
    inject: Inject
    applies: Callable[[Exchange], bool]


FAULTS: dict[str, Fault] = {}


def fault(*routes: Route, applies: Callable[[Exchange], bool] = lambda _: True) -> Callable[[Inject], Inject]:
    """Register a function under its own name as a fault of these routes."""

    def register(inject: Inject) -> Inject:
        name = inject.__name__
        FAULTS[name] = Fault(name, routes, inject, applies)
        return inject

    return register


# HTTP errors, in OpenAI's words.


@fault("chat", "embeddings")
def http_429(exchange: Exchange, rng: Random) -> None:
    """A rate limit that names no time to wait."""
    raise _rate_limited()


@fault("chat", "embeddings")
def http_429_retry_after(exchange: Exchange, rng: Random) -> None:
    """A rate limit that asks for one second, in seconds."""
    raise _rate_limited({"retry-after": "1"})


@fault("chat", "embeddings")
def http_429_retry_after_ms(exchange: Exchange, rng: Random) -> None:
    """A rate limit that asks for a fifth of a second, in milliseconds."""
    raise _rate_limited({"retry-after-ms": "200"})


@fault("chat", "embeddings")
def insufficient_quota(exchange: Exchange, rng: Random) -> None:
    """A 429 that no waiting cures: the account has no credit."""
    message = "You exceeded your current quota, please check your plan and billing details."
    raise ApiError(429, message, "insufficient_quota", code="insufficient_quota")


@fault("chat", "embeddings")
def http_401(exchange: Exchange, rng: Random) -> None:
    """A key that is no longer valid."""
    raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


@fault("chat", "embeddings")
def http_404_model(exchange: Exchange, rng: Random) -> None:
    """A model that does not exist, or no longer."""
    raise model_not_found(str(exchange.request.get("model")))


@fault("chat", "embeddings")
def http_400(exchange: Exchange, rng: Random) -> None:
    """A request refused for good."""
    raise ApiError(400, "Your request was rejected by the stand-in endpoint, as a test asked for.")


@fault("chat", applies=lambda exchange: _response_format(exchange) == "json_schema")
def http_400_response_format(exchange: Exchange, rng: Random) -> None:
    """An endpoint that knows no json_schema."""
    message = "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
    raise ApiError(400, message, param="response_format")


@fault("chat", "embeddings")
def http_500(exchange: Exchange, rng: Random) -> None:
    """An internal error."""
    raise ApiError(500, "The server had an error while processing your request.", "server_error")


@fault("chat", "embeddings")
def http_502(exchange: Exchange, rng: Random) -> None:
    """A gateway's error, which comes as HTML."""
    exchange.status, exchange.body = 502, "<html><body><h1>502 Bad Gateway</h1></body></html>"


@fault("chat", "embeddings")
def http_503(exchange: Exchange, rng: Random) -> None:
    """An overloaded server."""
    raise ApiError(503, "The engine is currently overloaded, please try again later.", "server_error")


# Broken deliveries.


@fault("chat", "embeddings")
def connection_reset(exchange: Exchange, rng: Random) -> None:
    """The connection is reset before the first byte of the reply."""
    exchange.delivery = "reset"


@fault("chat", "embeddings")
def reset_mid_body(exchange: Exchange, rng: Random) -> None:
    """The connection is reset when half of the body is sent."""
    exchange.delivery = "reset_mid_body"


@fault("chat", "embeddings")
def hang(exchange: Exchange, rng: Random) -> None:
    """No byte is sent until the client leaves."""
    exchange.delivery = "hang"


@fault("chat", "embeddings")
def html_instead_of_json(exchange: Exchange, rng: Random) -> None:
    """A proxy's page with status 200."""
    exchange.body = "<html><body><h1>Welcome to the guest network</h1></body></html>"


# Answers of a model that is broken, careful or cut short.


@fault("chat")
def malformed_json(exchange: Exchange, rng: Random) -> None:
    """Prose in place of JSON."""
    _message(exchange)["content"] = "Sure! Here is what these songs are about: they are {all about love"


@fault("chat")
def truncated_json(exchange: Exchange, rng: Random) -> None:
    """The token limit cuts the answer in half."""
    content = _message(exchange)["content"]
    _message(exchange)["content"] = content[: len(content) // 2]
    _choice(exchange)["finish_reason"] = "length"


@fault("chat")
def refusal(exchange: Exchange, rng: Random) -> None:
    """The model refuses to answer."""
    _message(exchange).update(content=None, refusal="I'm sorry, but I can't help with that.")


@fault("chat")
def content_filter(exchange: Exchange, rng: Random) -> None:
    """The provider's filter stops the answer after a third."""
    content = _message(exchange)["content"]
    _message(exchange)["content"] = content[: len(content) // 3]
    _choice(exchange)["finish_reason"] = "content_filter"


@fault("chat")
def null_content(exchange: Exchange, rng: Random) -> None:
    """Neither an answer nor a refusal."""
    _message(exchange)["content"] = None


@fault("chat")
def fenced_json(exchange: Exchange, rng: Random) -> None:
    """The answer in a Markdown fence."""
    _message(exchange)["content"] = f"```json\n{_message(exchange)['content']}\n```"


# Answers of the wrong form, or with wrong keys.


@fault("chat")
def list_form(exchange: Exchange, rng: Random) -> None:
    """A list of entries that carry their keys, whatever the schema asked for."""
    _write_songs(exchange, _as_list(_read_songs(exchange)))


@fault("chat")
def duplicate_key(exchange: Exchange, rng: Random) -> None:
    """The list form, with one key borne by two entries."""
    entries = _as_list(_read_songs(exchange))
    copy = dict(rng.choice(entries))
    copy["key"] = rng.choice(entries)["key"]
    _write_songs(exchange, [*entries, copy])


@fault("chat")
def dropped_key(exchange: Exchange, rng: Random) -> None:
    """One song is missing."""
    songs = _read_songs(exchange)
    songs.pop(rng.choice(_positions(songs)))
    _write_songs(exchange, songs)


@fault("chat")
def extra_key(exchange: Exchange, rng: Random) -> None:
    """One entry too many, under a key that nobody asked for."""
    songs = _read_songs(exchange)
    entry = dict(songs[rng.choice(_positions(songs))])
    if isinstance(songs, dict):
        songs["unasked"] = entry
    else:
        songs.append({**entry, "key": "unasked"})
    _write_songs(exchange, songs)


@fault("chat", applies=lambda exchange: len(exchange.songs) > 1)
def swapped_keys(exchange: Exchange, rng: Random) -> None:
    """Two songs bear each other's whole entry."""
    songs = _read_songs(exchange)
    one, other = rng.sample(_positions(songs), 2)
    songs[one], songs[other] = songs[other], songs[one]
    if isinstance(songs, list):
        songs[one]["key"], songs[other]["key"] = songs[other]["key"], songs[one]["key"]
    _write_songs(exchange, songs)


# One song's entry that is not as it should be.


@fault("chat")
def over_long_text(exchange: Exchange, rng: Random) -> None:
    """A text of several hundred characters."""
    _alter_text(exchange, rng, lambda text: ", ".join([text] * 8))


@fault("chat")
def confidence_tag(exchange: Exchange, rng: Random) -> None:
    """A text that ends in a confidence tag, in any case."""
    tag = "".join(rng.choice([letter.upper(), letter]) for letter in " [confidence: high]")
    _alter_text(exchange, rng, lambda text: text + tag)


@fault("chat")
def empty_text(exchange: Exchange, rng: Random) -> None:
    """A text without a character."""
    _alter_text(exchange, rng, lambda text: "")


@fault("chat")
def nul_character(exchange: Exchange, rng: Random) -> None:
    """A NUL in a text, which Postgres refuses."""
    _alter_text(exchange, rng, lambda text: text[:5] + "\x00" + text[5:])


@fault("chat")
def lone_surrogate(exchange: Exchange, rng: Random) -> None:
    """Half of an emoji in a text, which is no UTF-8."""
    _alter_text(exchange, rng, lambda text: text[:5] + "\ud83d" + text[5:])


@fault("chat")
def newlines(exchange: Exchange, rng: Random) -> None:
    """A text of several lines."""
    _alter_text(exchange, rng, lambda text: "\n" + text.replace(", ", "\r\n\n"))


@fault("chat")
def wrong_confidence(exchange: Exchange, rng: Random) -> None:
    """A confidence that is none of the three."""
    field = rng.choice(["emotions_confidence", "moments_confidence"])
    _random_entry(exchange, rng, lambda entry: entry.update({field: "very high"}))


@fault("chat")
def wrong_types(exchange: Exchange, rng: Random) -> None:
    """A field, or a whole entry's worth of them, of another JSON type."""
    nonsense = rng.choice([42, None, True, ["a", "list"], {"text": "nested"}])
    field = rng.choice(["emotions_text", "emotions_confidence", "moments_text", "moments_confidence"])
    _random_entry(exchange, rng, lambda entry: entry.update({field: nonsense}))


# Embeddings.


@fault("embeddings")
def embedding_dropped(exchange: Exchange, rng: Random) -> None:
    """One text gets no vector."""
    data = _data(exchange)
    data.pop(rng.randrange(len(data)))


@fault("embeddings", applies=lambda exchange: len(exchange.inputs) > 1)
def embedding_shuffled(exchange: Exchange, rng: Random) -> None:
    """The vectors come in another order; each index is right."""
    data = _data(exchange)
    in_order = list(data)
    while data == in_order:
        rng.shuffle(data)


@fault("embeddings")
def embedding_wrong_dimension(exchange: Exchange, rng: Random) -> None:
    """One vector is a number short."""
    _alter_vector(exchange, rng, lambda vector: vector[:-1])


@fault("embeddings")
def embedding_nan(exchange: Exchange, rng: Random) -> None:
    """One vector holds a NaN."""
    _alter_vector(
        exchange, rng, lambda vector: np.where(np.arange(len(vector)) == 3, np.float32("nan"), vector)
    )


@fault("embeddings")
def embedding_zero(exchange: Exchange, rng: Random) -> None:
    """One vector is all zeros, which has no cosine to anything."""
    _alter_vector(exchange, rng, np.zeros_like)


@fault("embeddings", applies=lambda exchange: exchange.request.get("encoding_format") == "base64")
def embedding_floats(exchange: Exchange, rng: Random) -> None:
    """Lists of floats, though base64 was asked for."""
    for item in _data(exchange):
        item["embedding"] = decoded(item["embedding"]).tolist()


def _rate_limited(headers: dict[str, str] | None = None) -> ApiError:
    return ApiError(
        429,
        "Rate limit reached. Please try again later.",
        "requests",
        code="rate_limit_exceeded",
        headers=headers,
    )


def _response_format(exchange: Exchange) -> str | None:
    kind: str | None = (exchange.request.get("response_format") or {}).get("type")
    return kind


def _choice(exchange: Exchange) -> dict[str, Any]:
    assert isinstance(exchange.body, dict)
    choice: dict[str, Any] = exchange.body["choices"][0]
    return choice


def _message(exchange: Exchange) -> dict[str, Any]:
    message: dict[str, Any] = _choice(exchange)["message"]
    return message


def _data(exchange: Exchange) -> list[dict[str, Any]]:
    assert isinstance(exchange.body, dict)
    data: list[dict[str, Any]] = exchange.body["data"]
    return data


def _read_songs(exchange: Exchange) -> Any:
    """The entries of the answer: a dict by key, or a list, as the request's schema demands."""
    return json.loads(_message(exchange)["content"])["songs"]


def _write_songs(exchange: Exchange, songs: Any) -> None:
    # ASCII, so that a lone surrogate travels as an escape, as a model would write it.
    _message(exchange)["content"] = json.dumps({"songs": songs})


def _positions(songs: Any) -> list[Any]:
    return list(songs) if isinstance(songs, dict) else list(range(len(songs)))


def _as_list(songs: Any) -> list[Entry]:
    return [{"key": key, **entry} for key, entry in songs.items()] if isinstance(songs, dict) else songs


def _random_entry(exchange: Exchange, rng: Random, alter: Callable[[Entry], None]) -> None:
    songs = _read_songs(exchange)
    alter(songs[rng.choice(_positions(songs))])
    _write_songs(exchange, songs)


def _alter_text(exchange: Exchange, rng: Random, alter: Callable[[str], str]) -> None:
    field = rng.choice(["emotions_text", "moments_text"])
    _random_entry(exchange, rng, lambda entry: entry.update({field: alter(entry[field])}))


def _alter_vector(
    exchange: Exchange, rng: Random, alter: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    item = rng.choice(_data(exchange))
    encoding_format = "base64" if isinstance(item["embedding"], str) else "float"
    item["embedding"] = encoded(alter(decoded(item["embedding"])), encoding_format)

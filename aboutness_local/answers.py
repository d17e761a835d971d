"""Honest answers: what a chat or embedding request asks for, and the body that answers it. No HTTP here."""

import json
import time
import uuid
from typing import Any

from aboutness_local import writer
from aboutness_local.exchange import ApiError, Exchange, ServiceTier, Usage, encoded
from aboutness_local.token_rules import BY_CHARACTERS, TokenRule

MAX_INPUTS = 2048
"""Texts in one embedding request, as OpenAI's API reference limits them."""
MAX_DIMENSIONS = 16_000
"""The widest vector that pgvector stores."""
SYSTEM_FINGERPRINT = "stand-in"
SERVICE_TIERS: dict[str, ServiceTier] = {"auto": "default", "default": "default", "flex": "flex"}
"""The tier that serves a request, by the tier it asks for."""
WRITTEN_FIELDS = ("emotions_text", "emotions_confidence", "moments_text", "moments_confidence")


def read_songs(exchange: Exchange) -> None:
    """Put the songs of the last user message into the exchange.

    Raises ApiError 400 where that message is not a songs document.
    """
    messages = exchange.request.get("messages")
    try:
        last = [message for message in messages or [] if message["role"] == "user"][-1]
        songs = json.loads(_text(last))["songs"]
        exchange.songs = [{name: song[name] for name in ("key", "title", "artist")} for song in songs]
    except (LookupError, TypeError, ValueError):
        exchange.songs = []
    if not exchange.songs or not all(
        isinstance(part, str) for song in exchange.songs for part in song.values()
    ):
        exchange.songs = []
        raise ApiError(
            400,
            'The stand-in endpoint answers only a last user message of the form {"songs": [{"key": "1", '
            '"title": "…", "artist": "…"}]}; set OPENAI_BASE_URL and OPENAI_API_KEY for a real model.',
            param="messages",
        )


def read_inputs(exchange: Exchange) -> None:
    """Put the texts of an embedding request into the exchange.

    Raises ApiError 400 where there is no text, an empty one, or more than MAX_INPUTS.
    """
    inputs = exchange.request.get("input")
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ApiError(400, "'$.input' is invalid: it must be a text or a list of texts that are not empty.")
    if len(texts) > MAX_INPUTS:
        raise ApiError(400, f"'$.input' is invalid: {len(texts)} texts are more than {MAX_INPUTS}.")
    exchange.inputs = texts


def read_service_tier(exchange: Exchange) -> None:
    """Put the tier that is asked for into the exchange; raises ApiError 400 for an unknown one."""
    asked = exchange.request.get("service_tier") or "auto"
    if not isinstance(asked, str) or asked not in SERVICE_TIERS:
        known = ", ".join(SERVICE_TIERS)
        raise ApiError(400, f"Invalid value {asked!r}: choose among {known}.", param="service_tier")
    exchange.service_tier = SERVICE_TIERS[asked]


def answer_limit(request: dict[str, Any]) -> int:
    """The most tokens that the answer may have; 0 where the request sets no limit.

    Raises ApiError 400 for a limit that is not a positive whole number.
    """
    for name in ("max_completion_tokens", "max_tokens"):
        limit = request.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or limit < 1:
            raise ApiError(400, f"Invalid value for '{name}': must be a positive whole number.", param=name)
        return limit
    return 0


def complete(
    exchange: Exchange, *, length: float = 1, cached_share: float = 0, tokens: TokenRule = BY_CHARACTERS
) -> None:
    """Answer a chat request honestly; an answer longer than the request allows is cut, as OpenAI does it.

    length: white space makes the answer so many times as long. cached_share: the share of the prompt that
    counts as cached. tokens: how prompt and answer are counted.
    """
    form, fields = _demanded_form(exchange.request)
    written = writer.write_pack([(song["title"], song["artist"]) for song in exchange.songs])
    entries = []
    for song, aboutness in zip(exchange.songs, written, strict=True):
        known = {**song, **{name: getattr(aboutness, name) for name in WRITTEN_FIELDS}}
        entries.append({name: known[name] for name in fields if name in known})
    keys = [song["key"] for song in exchange.songs]
    if form == "list":
        songs: Any = [{"key": key, **entry} for key, entry in zip(keys, entries, strict=True)]
    else:
        songs = dict(zip(keys, entries, strict=True))
    content = _json({"songs": songs}, length, tokens.separators)
    completion_tokens = tokens.text(content)
    limit = answer_limit(exchange.request)
    exchange.is_cut = 0 < limit < completion_tokens
    if exchange.is_cut:
        content, completion_tokens = tokens.first(content, limit), limit
    prompt_tokens = tokens.prompt(exchange.request, [*map(_text, exchange.request["messages"])])
    exchange.usage = Usage(prompt_tokens, int(prompt_tokens * cached_share), completion_tokens)
    exchange.body = {
        **completion(
            exchange.request["model"], content, exchange.usage, "length" if exchange.is_cut else "stop"
        ),
        "service_tier": exchange.service_tier,
        "system_fingerprint": SYSTEM_FINGERPRINT,
    }


def completion(model: str, content: str, usage: Usage, finish_reason: str = "stop") -> dict[str, Any]:
    """The body of a chat answer in OpenAI's form."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "finish_reason": finish_reason,
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        },
    }


def embed(exchange: Exchange, default_dimension: int, tokens: TokenRule = BY_CHARACTERS) -> None:
    """Answer an embedding request honestly.

    default_dimension: where the request asks for none. tokens: how the texts are counted.

    Raises ApiError 400 for an invalid dimension.
    """
    dimensions = exchange.request.get("dimensions", default_dimension)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MAX_DIMENSIONS:
        message = f"Invalid value for 'dimensions': must be a whole number from 1 to {MAX_DIMENSIONS}."
        raise ApiError(400, message, param="dimensions")
    encoding_format = exchange.request.get("encoding_format", "float")
    vectors = writer.embed(exchange.inputs, dimensions)
    prompt_tokens = sum(map(tokens.text, exchange.inputs))
    exchange.usage = Usage(prompt_tokens)
    exchange.body = {
        "object": "list",
        "model": exchange.request["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vector, encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }


def _demanded_form(request: dict[str, Any]) -> tuple[str, list[str]]:
    """The form of ``songs`` that the request's schema demands, "object" or "list", and an entry's fields.

    Without a schema the prompt decides: one that shows an entry with a title gets titles.
    """
    in_words = "".join(_text(message) for message in request["messages"] if message["role"] != "user")
    title = ["title"] if '"title":' in in_words else []
    default = ("object", [*title, *WRITTEN_FIELDS])
    try:
        schema = request["response_format"]["json_schema"]["schema"]
        songs = _resolved(schema["properties"]["songs"], schema)
        if songs.get("type") == "array":
            form, entry = "list", songs["items"]
        else:
            form, entry = "object", next(iter(songs.get("properties", {}).values()), None)
            entry = entry or songs["additionalProperties"]
        return form, list(_resolved(entry, schema)["properties"])
    except (KeyError, TypeError, AttributeError):
        return default


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or what its ``$ref`` of the form ``#/a/b`` points to."""
    resolved = schema
    if "$ref" in schema:
        resolved = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            resolved = resolved[step]
    return resolved


def _text(message: dict[str, Any]) -> str:
    """A message's text, whether its content is a string or a list of parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _json(document: dict[str, Any], length: float, separators: tuple[str, str]) -> str:
    """The document as JSON, made ``length`` times as long by white space after its commas."""
    comma, colon = separators
    needed = json.dumps(document, ensure_ascii=False, separators=separators)
    if length == 1:
        return needed
    commas = len(json.dumps(document, ensure_ascii=False, separators=(comma + " ", colon))) - len(needed)
    spaces = round(len(needed) * (length - 1) / commas)
    return json.dumps(document, ensure_ascii=False, separators=(comma + " " * spaces, colon))

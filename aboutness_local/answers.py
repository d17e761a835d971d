"""The stand-in's honest answers: what a chat or embedding request asks for, and the body that answers it.

No HTTP here; each function works on an Exchange.
"""

import json
import math
import time
import uuid
from typing import Any

from aboutness_local import writer
from aboutness_local.exchange import ApiError, Exchange, encoded

MAX_INPUTS = 2048
"""Texts in one embedding request, as OpenAI's API reference limits them."""
MAX_DIMENSIONS = 16_000
"""The widest vector that pgvector stores."""
CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text."""
SYSTEM_FINGERPRINT = "stand-in"
WRITTEN_FIELDS = ("emotions_text", "emotions_confidence", "moments_text", "moments_confidence")


def read_songs(exchange: Exchange) -> int:
    """Put the songs of the last user message into the exchange, and return the tokens that a limit counts.

    Raises ApiError 400 where that message is no songs document. OpenAI counts the larger of the prompt's
    estimate and the most that the answer may have (platform.openai.com/docs/guides/rate-limits).
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
    answer_limit = exchange.request.get("max_completion_tokens") or exchange.request.get("max_tokens") or 0
    return max(_prompt_tokens(exchange), answer_limit)


def read_inputs(exchange: Exchange) -> int:
    """Put the texts into the exchange, and return the tokens that a limit counts.

    Raises ApiError 400 where there is no text, an empty one, or more than MAX_INPUTS.
    """
    inputs = exchange.request.get("input")
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ApiError(400, "'$.input' is invalid: it must be a text or a list of texts, none of them empty.")
    if len(texts) > MAX_INPUTS:
        raise ApiError(400, f"'$.input' is invalid: {len(texts)} texts are more than {MAX_INPUTS}.")
    exchange.inputs = texts
    return sum(_tokens(text) for text in texts)


def complete(exchange: Exchange) -> None:
    """Answer a chat request honestly."""
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
    content = json.dumps({"songs": songs}, ensure_ascii=False)
    prompt_tokens, completion_tokens = _prompt_tokens(exchange), _tokens(content)
    exchange.body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": exchange.request["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "system_fingerprint": SYSTEM_FINGERPRINT,
    }


def embed(exchange: Exchange, default_dimension: int) -> None:
    """Answer an embedding request honestly; its vectors have default_dimension where it names no other."""
    dimensions = exchange.request.get("dimensions", default_dimension)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MAX_DIMENSIONS:
        message = f"Invalid value for 'dimensions': must be a whole number from 1 to {MAX_DIMENSIONS}."
        raise ApiError(400, message, param="dimensions")
    encoding_format = exchange.request.get("encoding_format", "float")
    vectors = writer.embed(exchange.inputs, dimensions)
    tokens = sum(_tokens(text) for text in exchange.inputs)
    exchange.body = {
        "object": "list",
        "model": exchange.request["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vector, encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _demanded_form(request: dict[str, Any]) -> tuple[str, list[str]]:
    """What the request's json_schema wants of ``songs``: "object" or "list", and the fields of an entry.

    Without a schema the words count: a prompt that shows an entry with a title gets titles.
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


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _prompt_tokens(exchange: Exchange) -> int:
    return sum(_tokens(_text(message)) for message in exchange.request["messages"])

"""Reads and writes the parts of an honest chat reply, for the faults that alter them."""

import json
from typing import Any, TypeAlias

from aboutness_local.exchange import Exchange

Entry: TypeAlias = dict[str, Any]


def choice_of(exchange: Exchange) -> dict[str, Any]:
    """The only choice of the completion."""
    assert isinstance(exchange.body, dict)
    choice: dict[str, Any] = exchange.body["choices"][0]
    return choice


def message_of(exchange: Exchange) -> dict[str, Any]:
    """The message of the only choice."""
    message: dict[str, Any] = choice_of(exchange)["message"]
    return message


def read_songs(exchange: Exchange) -> Any:
    """The entries of the answer: a dict by key, or a list, as the request's schema demands."""
    return json.loads(message_of(exchange)["content"])["songs"]


def write_songs(exchange: Exchange, songs: Any) -> None:
    """Replace the entries of the answer by these."""
    # ASCII, so that a lone surrogate travels as an escape, as a model would write it.
    message_of(exchange)["content"] = json.dumps({"songs": songs})


def positions(songs: Any) -> list[Any]:
    """What the entries are found by: the keys of a dict, the indexes of a list."""
    return list(songs) if isinstance(songs, dict) else list(range(len(songs)))


def as_list(songs: Any) -> list[Entry]:
    """The entries in the list form, each with its key."""
    return [{"key": key, **entry} for key, entry in songs.items()] if isinstance(songs, dict) else songs


def holds_several_songs(exchange: Exchange) -> bool:
    """Whether there are two songs that could be mixed up."""
    return len(exchange.songs) > 1


def echoes_titles(exchange: Exchange) -> bool:
    """Whether every entry of the answer repeats its song's title."""
    songs = read_songs(exchange)
    return all("title" in songs[position] for position in positions(songs))

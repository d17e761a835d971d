"""Faults of a whole answer: it is not valid, refused, cut short, or its keys are mixed up."""

from random import Random
from typing import Any

from aboutness_local.exchange import Exchange
from aboutness_local.faults.completion import (
    as_list,
    choice_of,
    holds_several_songs,
    message_of,
    positions,
    read_songs,
    write_songs,
)
from aboutness_local.faults.registry import fault


@fault("chat")
def malformed_json(exchange: Exchange, rng: Random) -> None:
    """Prose in place of JSON."""
    message_of(exchange)["content"] = "Sure! Here is what these songs are about: they are {all about love"


@fault("chat")
def truncated_json(exchange: Exchange, rng: Random) -> None:
    """The token limit cuts the answer in half."""
    content = message_of(exchange)["content"]
    message_of(exchange)["content"] = content[: len(content) // 2]
    choice_of(exchange)["finish_reason"] = "length"


@fault("chat")
def refusal(exchange: Exchange, rng: Random) -> None:
    """The model refuses to answer."""
    message_of(exchange).update(content=None, refusal="I'm sorry, but I can't help with that.")


@fault("chat")
def refusal_with_content(exchange: Exchange, rng: Random) -> None:
    """The model refuses to answer and answers all the same."""
    message_of(exchange)["refusal"] = "I'm sorry, but I can't help with that."


@fault("chat")
def content_filter(exchange: Exchange, rng: Random) -> None:
    """The provider's filter stops the answer after a third."""
    content = message_of(exchange)["content"]
    message_of(exchange)["content"] = content[: len(content) // 3]
    choice_of(exchange)["finish_reason"] = "content_filter"


@fault("chat")
def null_content(exchange: Exchange, rng: Random) -> None:
    """Neither an answer nor a refusal."""
    message_of(exchange)["content"] = None


@fault("chat")
def fenced_json(exchange: Exchange, rng: Random) -> None:
    """The answer in a Markdown fence."""
    message_of(exchange)["content"] = f"```json\n{message_of(exchange)['content']}\n```"


@fault("chat")
def wrong_types_of_body(exchange: Exchange, rng: Random) -> None:
    """A part of the completion around the answer, or the answer itself, has another JSON type."""
    assert isinstance(exchange.body, dict)
    part, name = rng.choice(
        [
            (exchange.body, "choices"),
            (exchange.body, "usage"),
            (choice_of(exchange), "message"),
            (choice_of(exchange), "finish_reason"),
            (message_of(exchange), "content"),
            (message_of(exchange), "refusal"),
        ]
    )
    part[name] = rng.choice([42, True, ["a", "list"], {"text": "nested"}, []])


@fault("chat")
def list_form(exchange: Exchange, rng: Random) -> None:
    """A list of entries that carry their keys, whatever the schema asked for."""
    write_songs(exchange, as_list(read_songs(exchange)))


@fault("chat")
def duplicate_key(exchange: Exchange, rng: Random) -> None:
    """The list form, with the same key in two entries."""
    entries = as_list(read_songs(exchange))
    copy = dict(rng.choice(entries))
    copy["key"] = rng.choice(entries)["key"]
    write_songs(exchange, [*entries, copy])


@fault("chat")
def dropped_key(exchange: Exchange, rng: Random) -> None:
    """One song is missing."""
    songs = read_songs(exchange)
    songs.pop(rng.choice(positions(songs)))
    write_songs(exchange, songs)


@fault("chat")
def extra_key(exchange: Exchange, rng: Random) -> None:
    """One entry too many, under a key that nobody asked for."""
    songs = read_songs(exchange)
    _add(songs, "unasked", dict(songs[rng.choice(positions(songs))]))
    write_songs(exchange, songs)


@fault("chat")
def unknown_key(exchange: Exchange, rng: Random) -> None:
    """One song's entry is under a key that nobody asked for, instead of its own."""
    songs = read_songs(exchange)
    _add(songs, "unasked", songs.pop(rng.choice(positions(songs))))
    write_songs(exchange, songs)


@fault("chat", applies=holds_several_songs)
def swapped_keys(exchange: Exchange, rng: Random) -> None:
    """Two songs have each other's whole entry."""
    songs = read_songs(exchange)
    one, other = rng.sample(positions(songs), 2)
    songs[one], songs[other] = songs[other], songs[one]
    if isinstance(songs, list):
        songs[one]["key"], songs[other]["key"] = songs[other]["key"], songs[one]["key"]
    write_songs(exchange, songs)


@fault("chat", applies=holds_several_songs)
def shifted_keys(exchange: Exchange, rng: Random) -> None:
    """Every song has the whole entry of the song before it."""
    songs = read_songs(exchange)
    if isinstance(songs, dict):
        songs = dict(zip(songs, [*songs.values()][-1:] + [*songs.values()][:-1], strict=True))
    else:
        keys = [entry["key"] for entry in songs]
        songs = [{**entry, "key": key} for key, entry in zip(keys[1:] + keys[:1], songs, strict=True)]
    write_songs(exchange, songs)


def _add(songs: Any, key: str, entry: dict[str, Any]) -> None:
    if isinstance(songs, dict):
        songs[key] = entry
    else:
        songs.append({**entry, "key": key})

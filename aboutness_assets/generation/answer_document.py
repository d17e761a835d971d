"""From an answer's characters to its entries by key. What an entry says is answer.py's."""

import json
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

import regex  # type: ignore[import-untyped]


class _Ambiguous:
    """The value of a name that was given two different values."""


AMBIGUOUS = _Ambiguous()
"""In place of an entry, or of a field of one, that was given twice and differently."""

_BEGINNING = regex.compile(r"[{\[](?=\s*[{\"])")
_MAX_BEGINNINGS = 40  # places at which a document is looked for
_MAX_ENDINGS = 20  # places at which a document that was cut off is closed


def read_entries(content: str, keys: Collection[str]) -> dict[str, Any] | None:
    """Return the entries of an answer by key, or None where no JSON of the agreed form can be read.

    Understands the object form and the list form, inside prose or a Markdown fence, without the outer
    "songs", and cut off. Numbers come as the digits they are written with. A model may repeat the request or
    part of the form before it answers, so the document that has texts for most keys counts.
    """

    def texts(entries: dict[str, Any]) -> int:
        return sum(isinstance(entry := entries.get(key), dict) and "emotions_text" in entry for key in keys)

    found = max(_documents(content, keys), key=texts, default=None)
    return _entries_before_cut(content, keys) if found is None else found


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from its members; a name with two different values is ambiguous, not the last one."""
    members: dict[str, Any] = {}
    for spelling, value in pairs:
        name = spelling.strip()
        members[name] = AMBIGUOUS if members.get(name, value) != value else value
    return members


# Numbers stay digits: a key 3, a title 1999, a number too long for an int.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_repetition, parse_int=str, parse_float=str, parse_constant=str, strict=False
)


def _decoded(text: str, start: int) -> tuple[Any, int]:
    """Return the JSON value that begins at start, and where it ends; (None, start) if there is no value."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start


def _documents(content: str, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the entries of every document of the agreed form in content."""
    read_to = 0
    for beginning in islice(_BEGINNING.finditer(content), _MAX_BEGINNINGS):
        if beginning.start() >= read_to:
            document, end = _decoded(content, beginning.start())
            entries = _entries_of(document, keys)
            if entries is not None:
                yield entries
                read_to = end


def _entries_of(document: Any, keys: Collection[str]) -> dict[str, Any] | None:
    """Return the entries of a document by key, or None when it is not of the agreed form."""
    has_songs = isinstance(document, dict) and "songs" in document
    songs = document["songs"] if has_songs else document
    if songs is AMBIGUOUS:
        return dict.fromkeys(keys, AMBIGUOUS)
    if isinstance(songs, list):
        keyed = [entry for entry in songs if isinstance(entry, dict) and isinstance(entry.get("key"), str)]
        songs = _without_repetition([(entry["key"], entry) for entry in keyed])
    if not isinstance(songs, dict):
        return None
    return songs if has_songs or not songs.keys().isdisjoint(keys) else None


def _entries_before_cut(content: str, keys: Collection[str]) -> dict[str, Any] | None:
    """Return the entries of a document that was cut off, up to the last whole one.

    What it buys: a request with a limit on its answer's tokens gets cut answers, billed in full. The songs
    before the cut get their rows, and only the others are asked for again.
    """
    beginning = _BEGINNING.search(content)
    if beginning is None:
        return None
    endings = [index for index, character in enumerate(content) if character == "}"][-_MAX_ENDINGS:]
    for ending in reversed(endings):
        for closing in ("}}", "]}"):
            document, _ = _decoded(content[: ending + 1] + closing, beginning.start())
            entries = _entries_of(document, keys)
            if entries is not None:
                return entries
    return None

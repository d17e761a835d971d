"""From an answer's characters to its entries by key. What an entry says is answer.py's."""

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from string import whitespace
from typing import Any

import regex  # type: ignore[import-untyped]

from aboutness_assets.generation.thoughts import is_thought


class _Ambiguous:
    """The value of a name that was given two different values."""


AMBIGUOUS = _Ambiguous()
"""In place of an entry, or of a field of one, that was given twice and differently."""

TEXT_NAMES = ("emotions_text", "moments_text")

_BEGINNING = regex.compile(r"\{(?=\s*+(?:\"|\Z))|\[(?=\s*+(?:\{|\Z))")
_FENCED = regex.compile(r"[\s\ufeff]*+(?:```\w*+\s*+)?+(?=[{\[])")
_SEPARATOR = regex.compile(r"[\s,]*+")
_COLON = regex.compile(r"\s*+:?\s*+")
_WORD = regex.compile(r"[^\W_]")
_ENCLOSED = regex.compile(r"\s*+[,}\]]")  # what follows on a value within another one
_ONE_TOKEN = regex.compile(r"\s*+[\w.+\\-]{0,20}+\Z")  # a number, a name or an escape, as a cut leaves it

# How often each character of an answer may be read. A document is read once for each level of its nesting;
# an answer that would need more is an attack or noise, and must not stop the process.
_MAX_READINGS = 10


def read_entries(
    content: str, keys: Collection[str], is_from_prompt: Callable[[str], bool], *, is_cut: bool = False
) -> dict[str, Any] | None:
    """Return the entries of an answer by key, or None where no JSON of the agreed form can be read.

    Understands the object form and the list form, inside prose or a Markdown fence, without the outer
    "songs", and cut off. Numbers come as the digits they are written with. A model may draft, think and
    repeat the request or the form: of several documents the one that begins last counts, outside of thoughts,
    and it counts as far as it is whole.

    is_from_prompt: tells a text that only repeats the prompt. is_cut: the answer ended at its limit; what
    stands before the last words of such an answer may be a draft.
    """
    document = _last_document(content, keys, is_from_prompt)
    if document is None:
        return None
    if document.end is None:
        return None if is_thought(content, document.start, document.start) else document.entries
    if is_thought(content, document.start, document.end):
        return None
    return None if is_cut and _WORD.search(content, document.end) else document.entries


def read_conclusion(
    thoughts: str, keys: Collection[str], is_from_prompt: Callable[[str], bool]
) -> dict[str, Any] | None:
    """Return the entries of the whole document that thoughts end with, or None where they end otherwise.

    Some endpoints take a whole answer for thoughts. A document with words after it is a draft.
    """
    document = _last_document(thoughts, keys, is_from_prompt)
    if document is None or document.end is None or _WORD.search(thoughts, document.end):
        return None
    return document.entries


@dataclass(frozen=True, slots=True)
class _Document:
    """A document of the agreed form; one that breaks off has the entries before that, and no end."""

    entries: dict[str, Any]
    start: int
    end: int | None


class _Cut(Exception):
    """No JSON value begins here, or it breaks off.

    is_at_end: whether it could go on where the text ends.
    """

    def __init__(self, *, is_at_end: bool) -> None:
        super().__init__()
        self.is_at_end = is_at_end


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


class _Reader:
    """Decodes values anywhere in a text until it has read as much as it may."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._left = _MAX_READINGS * len(text)

    @property
    def may_read(self) -> bool:
        return self._left > 0

    def value(self, start: int) -> tuple[Any, int]:
        """Return the JSON value that begins at start, and where it ends. Raises _Cut."""
        try:
            value, end = _DECODER.raw_decode(self.text, start)
        except json.JSONDecodeError as error:
            # The error counts the lines before it, much faster than they were read.
            self._left -= error.pos - start + error.pos // 64
            is_string = error.msg.startswith("Unterminated string")
            is_at_end = is_string or _ONE_TOKEN.match(self.text, error.pos) is not None
            if is_string:
                self._left -= len(self.text) - error.pos
            raise _Cut(is_at_end=is_at_end) from None
        except RecursionError:
            self._left -= len(self.text) - start
            raise _Cut(is_at_end=False) from None
        self._left -= end - start
        return value, end

    def whole_members(self, start: int, *, within_songs: bool = False) -> tuple[Any, bool]:
        """Return the object or list that begins at start up to its first member that is not whole.

        With it comes whether it breaks off where the text ends. Of "songs" the whole members count.
        """
        is_object = self.text[start] == "{"
        names: list[str] = []
        values: list[Any] = []
        position = start + 1
        is_at_end = False
        try:
            while True:
                position = _SEPARATOR.match(self.text, position).end()
                if is_object:
                    name, position = self.value(position)
                    names.append(str(name).strip())
                    position = _COLON.match(self.text, position).end()
                value, position = self.value(position)
                values.append(value)
        except _Cut as cut:
            is_at_end = cut.is_at_end
        is_songs = len(names) > len(values) and names[-1] == "songs" and not within_songs
        if is_songs and self.text.startswith(("{", "["), position):
            songs, is_at_end = self.whole_members(position, within_songs=True)
            values.append(songs)
        whole = _without_repetition(list(zip(names, values, strict=False))) if is_object else values
        return whole, is_at_end


def _last_document(
    text: str, keys: Collection[str], is_from_prompt: Callable[[str], bool]
) -> _Document | None:
    """Return the document that begins last, with all that encloses it; None where a later one has no entry.

    Found from the end, so that nothing before it can hide it.
    """
    reader = _Reader(text)

    def entries_of(document: Any) -> dict[str, Any] | None:
        return _entries_of(document, keys, is_from_prompt)

    lone = _FENCED.match(text)
    if lone is not None:
        with suppress(_Cut):
            value, end = reader.value(lone.end())
            entries = None if _WORD.search(text, end) else entries_of(value)
            if entries is not None:
                return _Document(entries, lone.end(), end)
    is_closed = text.rstrip("`" + whitespace).endswith(("}", "]"))
    is_open = False  # whether something that begins later is cut off, before its first entry
    found: _Document | None = None
    for start in reversed([beginning.start() for beginning in _BEGINNING.finditer(text)]):
        if not reader.may_read or (found and not _ENCLOSED.match(text, found.end)):
            break
        try:
            value, end = reader.value(start)
        except _Cut as cut:
            if found is None and (cut.is_at_end or (is_closed and not is_open)):
                whole, is_at_end = reader.whole_members(start)
                entries = entries_of(whole)
                if entries and (is_at_end or is_closed):
                    return _Document(entries, start, None)
                is_open |= cut.is_at_end
            continue
        if found is None or end >= (found.end or 0):
            entries = entries_of(value)
            if entries is not None:
                if is_open:
                    return None
                found = _Document(entries, start, end)
    return found


def _entries_of(
    document: Any, keys: Collection[str], is_from_prompt: Callable[[str], bool]
) -> dict[str, Any] | None:
    """Return the entries of a document by key, or None when it is no answer of the agreed form."""
    has_songs = isinstance(document, dict) and "songs" in document
    songs = document["songs"] if has_songs else document
    if songs is AMBIGUOUS:
        return dict.fromkeys(keys, AMBIGUOUS)
    if isinstance(songs, list):
        keyed = [entry for entry in songs if isinstance(entry, dict) and isinstance(entry.get("key"), str)]
        songs = _without_repetition([(entry["key"], entry) for entry in keyed])
    if not isinstance(songs, dict) or not (has_songs or not songs.keys().isdisjoint(keys)):
        return None
    return songs if _is_answer(songs, is_from_prompt, has_songs=has_songs) else None


def _is_answer(entries: dict[str, Any], is_from_prompt: Callable[[str], bool], *, has_songs: bool) -> bool:
    """Tell an answer from the request, which has no texts, and from the form, which has none of its own."""
    objects = [entry for entry in entries.values() if isinstance(entry, dict) and entry]
    texts = [entry[name] for entry in objects for name in TEXT_NAMES if name in entry]
    if texts:
        return not all(
            isinstance(text, dict) or (isinstance(text, str) and is_from_prompt(text)) for text in texts
        )
    return AMBIGUOUS in entries.values() or (has_songs and not objects)

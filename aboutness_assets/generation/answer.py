"""Reads an answer: from whatever a model wrote to valid texts, each held against the song it is meant for.

Nothing is taken by position. An entry counts only under its key, only if it does not speak of another song,
and only if its texts can be made valid; every other song of the pack comes back with the reason.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import combinations, islice
from typing import Any, get_args

import regex  # type: ignore[import-untyped]

from aboutness_assets.domain.errors import UnparsableAnswer
from aboutness_assets.domain.songs import Aboutness, Cause, Confidence, FailedSong, SongId
from aboutness_assets.generation.cleaning import FUNCTION_WORDS, clean_text, letters_and_digits
from aboutness_assets.generation.packs import Pack
from aboutness_assets.generation.prompt import EXAMPLE_EMOTIONS, EXAMPLE_MOMENTS, sent_artist, sent_title


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What one answer holds: every song of the pack is either written or rejected, in the pack's order."""

    written: dict[SongId, Aboutness] = field(default_factory=dict)
    rejected: list[FailedSong] = field(default_factory=list)


def read_answer(content: str, pack: Pack) -> ReadAnswer:
    """Read the answer to pack's request.

    Understands the object form and the list form, inside prose or a Markdown fence, without the outer
    "songs", and cut off in the middle, of which the entries before the cut are taken. Raises
    UnparsableAnswer when none of these can be read, and nothing else for any content.
    """
    songs = pack.keyed()
    entries = _entries_in(content, songs.keys())
    echoed = {
        "title": {key: sent_title(song.title) for key, song in songs.items()},
        "artist": {key: sent_artist(song.artist) for key, song in songs.items()},
    }
    read = {key: _read_entry(entries.get(key), key, echoed) for key in songs}
    twins = _twins(
        {key: texts for key, texts in read.items() if isinstance(texts, Aboutness)}, echoed["title"]
    )
    answer = ReadAnswer()
    for key, song in songs.items():
        outcome = twins.get(key, read[key])
        if isinstance(outcome, Aboutness):
            answer.written[song.song_id] = outcome
        else:
            answer.rejected.append(FailedSong(song.song_id, outcome.cause, outcome.reason))
    return answer


# --- From characters to entries -------------------------------------------------------------------


class _Ambiguous:
    """Stands where one name was given two different values."""


_AMBIGUOUS = _Ambiguous()
_BEGINNING = regex.compile(r"[{\[](?=\s*[{\"])")
_MAX_BEGINNINGS = 40  # places at which a document is looked for
_MAX_ENDINGS = 20  # places at which a document that was cut off is closed


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from its members; a name with two different values is ambiguous, not the last one."""
    members: dict[str, Any] = {}
    for spelling, value in pairs:
        name = spelling.strip()
        members[name] = _AMBIGUOUS if members.get(name, value) != value else value
    return members


# Numbers stay the digits they are written with: a key 3, a title 1999, a number too long for an int.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_repetition, parse_int=str, parse_float=str, parse_constant=str, strict=False
)


def _decoded(text: str, start: int) -> tuple[Any, int]:
    """Return the JSON value that begins at start, with where it ends; (None, start) where none does."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start


def _documents(content: str, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the entries of every document of the agreed form that stands in content."""
    read_to = 0
    for beginning in islice(_BEGINNING.finditer(content), _MAX_BEGINNINGS):
        if beginning.start() >= read_to:
            document, end = _decoded(content, beginning.start())
            entries = _entries_of(document, keys)
            if entries is not None:
                yield entries
                read_to = end


def _entries_before_cut(content: str, keys: Collection[str]) -> dict[str, Any] | None:
    """Return the entries of a document that was cut off, up to the last whole one."""
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


def _entries_of(document: Any, keys: Collection[str]) -> dict[str, Any] | None:
    """Return the entries of a document by key, or None when it is not of the agreed form."""
    has_songs = isinstance(document, dict) and "songs" in document
    songs = document["songs"] if has_songs else document
    if songs is _AMBIGUOUS:
        return dict.fromkeys(keys, _AMBIGUOUS)
    if isinstance(songs, list):
        keyed = [entry for entry in songs if isinstance(entry, dict) and isinstance(entry.get("key"), str)]
        songs = _without_repetition([(entry["key"], entry) for entry in keyed])
    if not isinstance(songs, dict):
        return None
    return songs if has_songs or not songs.keys().isdisjoint(keys) else None


def _entries_in(content: str, keys: Collection[str]) -> dict[str, Any]:
    """Return the entries of the document that has texts for most keys, the first of equals.

    The most, because a model may repeat the request, or part of the form, before it answers.
    """

    def texts(entries: dict[str, Any]) -> int:
        return sum(isinstance(entry := entries.get(key), dict) and "emotions_text" in entry for key in keys)

    found = max(_documents(content, keys), key=texts, default=None)
    if found is None:
        found = _entries_before_cut(content, keys)
    if found is None:
        raise UnparsableAnswer(
            f"No JSON of the agreed form can be read from the answer of {len(content)} characters for "
            f"{len(keys)} songs; ask for its songs one by one."
        )
    return found


# --- From entries to texts ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Why an entry cannot be taken."""

    cause: Cause
    reason: str


def _read_entry(entry: Any, key: str, echoed: Mapping[str, Mapping[str, str]]) -> Aboutness | _Flaw:
    if entry is None:
        return _Flaw("missing", "The answer holds no entry for this song.")
    if not isinstance(entry, dict):
        found = "two different entries" if entry is _AMBIGUOUS else "something else than an entry"
        return _Flaw("unparsable", f"The answer holds {found} for this song.")
    for name, sent in echoed.items():
        if _echoes_another(entry.get(name), key, sent):
            return _Flaw("another_song", f"The answer's entry for this song bears another {name}.")
    emotions, moments = (_usable_text(entry.get(name)) for name in ("emotions_text", "moments_text"))
    if not (emotions and moments):
        name = "moments_text" if emotions else "emotions_text"
        return _Flaw("unusable_text", f"The answer's {name} for this song is empty or unusable.")
    sure_of_emotions = _confidence(entry.get("emotions_confidence"))
    sure_of_moments = _confidence(entry.get("moments_confidence"))
    if sure_of_emotions is None or sure_of_moments is None:
        return _Flaw("bad_confidence", "A confidence for this song is none of low, medium and high.")
    return Aboutness(emotions, sure_of_emotions, moments, sure_of_moments)


_COPIED = {letters_and_digits(example) for example in (EXAMPLE_EMOTIONS, EXAMPLE_MOMENTS)}


def _usable_text(value: Any) -> str:
    text = clean_text(value) if isinstance(value, str) else ""
    return "" if letters_and_digits(text) in _COPIED else text


def _confidence(value: Any) -> Confidence | None:
    spelling = value.strip().casefold() if isinstance(value, str) else None
    return next((confidence for confidence in get_args(Confidence) if confidence == spelling), None)


# --- Whose entry is it? ---------------------------------------------------------------------------

# Measured on 20,000 titles of a real catalogue in packs of ten: every swap is seen, and 91 % of titles
# from elsewhere; of titles that lost brackets, accents, case or two letters, at most 1 in 1,000 is doubted.
_SHORTENED = 0.9  # likeness of a spelling that lacks the end of the other: "(feat. …)", "- 2011 Remaster"
_ALIKE = 0.8  # from here on an echo is taken for a spelling of another song's title
_UNLIKE = 0.5  # below, it is no spelling of the song's own
_TOO_SHORT_TO_JUDGE = 4  # letters and digits; "7" may well come back as "Seven"
_LONGEST_ECHO = 300  # characters; a title is sent with 200 at most
_MOST_COMPARED = 100  # letters and digits; comparing takes the square of them, at worst their cube
_LATIN = regex.compile(r"[\p{Latin}\p{N}]")
_PART = regex.compile(r"\s+[-–—:|/]\s+|\s+by\s+")


def _likeness(one: str, other: str) -> float:
    """Return how alike two spellings are, from 0 to 1, whatever their case, width, accents and signs."""
    one, other = letters_and_digits(one) or one, letters_and_digits(other) or other
    if one == other:
        return 1.0
    shorter, longer = sorted((one, other), key=len)
    if shorter and (longer.startswith(shorter) or (len(shorter) > _TOO_SHORT_TO_JUDGE and shorter in longer)):
        return _SHORTENED
    compared = one[:_MOST_COMPARED], other[:_MOST_COMPARED]
    return SequenceMatcher(None, *compared, autojunk=False).ratio()


def _echoes_another(echo: Any, key: str, sent: Mapping[str, str]) -> bool:
    """Tell whether what an entry repeats of its song is another song's, or clearly not its own.

    No echo tells nothing. An echo in another script may be a transliteration: it counts only when it is
    another song's.
    """
    own = sent[key]
    if not isinstance(echo, str) or not echo.strip() or echo == own:
        return False
    echo = echo.strip()[:_LONGEST_ECHO]
    likeness = _likeness(echo, own)
    if likeness == 1:
        return False
    nearest = max((_likeness(echo, title) for other, title in sent.items() if other != key), default=0)
    if nearest >= _ALIKE and nearest > likeness:
        return True
    can_be_judged = all(
        _LATIN.search(spelling) and len(letters_and_digits(spelling)) >= _TOO_SHORT_TO_JUDGE
        for spelling in (echo, own)
    )
    # "Artist - Title" is an echo of the title too.
    holds_own = any(_likeness(part, own) == 1 for part in _PART.split(echo))
    return can_be_judged and likeness < _UNLIKE and not holds_own


_WORD = regex.compile(r"\w+")
_ENDING = regex.compile(r"(?<=\p{L}{3})(?:ness|ing|ed|es|s|ly)\Z")


def _content_words(text: str) -> frozenset[str]:
    """Return the words that make a text this one: without order, function words and endings."""
    words = _WORD.findall(text.casefold())
    return frozenset(_ENDING.sub("", word) for word in words if word not in FUNCTION_WORDS)


def _twins(read: Mapping[str, Aboutness], titles: Mapping[str, str]) -> dict[str, _Flaw]:
    """Return a flaw for every song both of whose texts say in the same words what another song's say.

    One word that differs, as a name or a number, is enough to tell texts apart; two versions of one song,
    by their titles, may well say the same. Where every song of three or more has the same texts, none bled
    into another: that model tells no songs apart, and asking each alone would only cost more.
    """
    alike: dict[frozenset[str], list[str]] = {}
    for key, texts in read.items():
        alike.setdefault(_content_words(texts.emotions_text), []).append(key)
    flaws: dict[str, _Flaw] = {}
    for keys in alike.values():
        for one, other in combinations(keys, 2):
            moments = {_content_words(read[key].moments_text) for key in (one, other)}
            if len(moments) == 1 and _likeness(titles[one], titles[other]) < _SHORTENED:
                flaws[one] = flaws[other] = _Flaw(
                    "another_song", "Two songs of the answer have the same texts."
                )
    tells_none_apart = len(alike) == 1 and len(flaws) == len(read) > 2
    return {} if tells_none_apart else flaws

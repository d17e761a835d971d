"""Reads an answer: from whatever a model wrote to valid texts, each checked against the song it is meant for.

Nothing is taken by position. An entry counts only under its key, only if it is not about another song, and
only if its texts can be made valid; every other song of the pack comes back with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.domain.songs import Aboutness, Cause, Confidence, FailedSong, SongId
from aboutness_assets.generation.answer_document import AMBIGUOUS, read_conclusion, read_entries
from aboutness_assets.generation.attribution import echoes_another, keys_with_same_texts
from aboutness_assets.generation.cleaning import clean_text
from aboutness_assets.generation.packs import Pack
from aboutness_assets.generation.prompt import is_from_prompt, sent_artist, sent_title
from aboutness_assets.generation.thoughts import answer_part


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What one answer holds: every song of the pack is either written or rejected, in the pack's order."""

    written: dict[SongId, Aboutness] = field(default_factory=dict)
    rejected: list[FailedSong] = field(default_factory=list)


def read_texts(chat: ChatAnswer, pack: Pack) -> ReadAnswer:
    """Read the texts of pack's songs from the answer to its request, live or kept by an earlier run.

    A refusal, an answer that the content filter cut, an empty one and one that is not of the agreed form
    reject every song. An answer that is cut by its length gives the entries before the cut. An answer that
    the endpoint took for thoughts counts where there is no other. Raises nothing.
    """
    if chat.refusal:
        return ReadAnswer(rejected=reject_all(pack, "refused", f"The model refused: {chat.refusal[:200]}"))
    if chat.finish_reason == "content_filter":
        reason = "The provider's content filter cut the answer."
        return ReadAnswer(rejected=reject_all(pack, "content_filter", reason))
    content, keys, is_cut = chat.content or "", pack.keyed().keys(), chat.finish_reason == "length"
    entries = read_entries(content, keys, is_from_prompt, is_cut=is_cut)
    if entries is None and chat.reasoning and not is_cut and not answer_part(content).strip():
        entries = read_conclusion(chat.reasoning, keys, is_from_prompt)
    if entries is None:
        reason = (
            f"No JSON of the agreed form can be read from the answer of {len(content)} characters for "
            f"{len(pack.songs)} songs."
            if content
            else "The answer holds no text."
        )
        return ReadAnswer(rejected=reject_all(pack, "unparsable", reason))
    return _read_entries(entries, pack)


def reject_all(pack: Pack, cause: Cause, reason: str) -> list[FailedSong]:
    """Return every song of the pack as failed for the same cause and reason."""
    return [FailedSong(song.song_id, cause, reason) for song in pack.songs]


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Why an entry cannot be used."""

    cause: Cause
    reason: str


def _read_entries(entries: Mapping[str, Any], pack: Pack) -> ReadAnswer:
    songs = pack.keyed()
    titles = {key: sent_title(song.title) for key, song in songs.items()}
    artists = {key: sent_artist(song.artist) for key, song in songs.items()}
    sent = {"title": titles, "artist": artists}
    outcomes = {key: _read_entry(entries.get(key), key, sent) for key in songs}
    texts = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Aboutness)}
    for key in keys_with_same_texts(texts, titles):
        outcomes[key] = _Flaw("another_song", "Two songs of the answer have the same texts.")
    read = ReadAnswer()
    for key, song in songs.items():
        outcome = outcomes[key]
        if isinstance(outcome, Aboutness):
            read.written[song.song_id] = outcome
        else:
            read.rejected.append(FailedSong(song.song_id, outcome.cause, outcome.reason))
    return read


def _read_entry(entry: Any, key: str, sent: Mapping[str, Mapping[str, str]]) -> Aboutness | _Flaw:
    """Read the entry under key; sent: the titles and artists of the request, each by key."""
    if entry is None:
        return _Flaw("missing", "The answer holds no entry for this song.")
    if not isinstance(entry, dict):
        found = "two different entries" if entry is AMBIGUOUS else "something other than an entry"
        return _Flaw("unparsable", f"The answer holds {found} for this song.")
    for name, by_key in sent.items():
        if echoes_another(entry.get(name), key, by_key):
            return _Flaw("another_song", f"The answer's entry for this song has another {name}.")
    emotions, moments = (_usable_text(entry.get(name)) for name in ("emotions_text", "moments_text"))
    if not (emotions and moments):
        name = "moments_text" if emotions else "emotions_text"
        return _Flaw("unusable_text", f"The answer's {name} for this song is empty or unusable.")
    emotions_confidence = _confidence(entry.get("emotions_confidence"))
    moments_confidence = _confidence(entry.get("moments_confidence"))
    if emotions_confidence is None or moments_confidence is None:
        return _Flaw("bad_confidence", "A confidence for this song is not low, medium or high.")
    return Aboutness(emotions, emotions_confidence, moments, moments_confidence)


def _usable_text(value: Any) -> str:
    """Return the clean text, or '' where it is unusable or copied from the prompt."""
    text = clean_text(value) if isinstance(value, str) else ""
    return "" if is_from_prompt(text) else text


def _confidence(value: Any) -> Confidence | None:
    spelling = value.strip().casefold() if isinstance(value, str) else None
    return next((confidence for confidence in get_args(Confidence) if confidence == spelling), None)

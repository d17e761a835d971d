"""A pack of three songs, and what a model may answer to it."""

import json
from typing import Any

from aboutness_assets.domain.chat import ChatAnswer, Usage
from aboutness_assets.domain.songs import Aboutness, Song, SongId
from aboutness_assets.generation.answer import ReadAnswer, read_texts
from aboutness_assets.generation.packs import Pack

IMAGINE = Song(11, "Imagine", "John Lennon")
THRILLER = Song(12, "Thriller", "Michael Jackson")
HOME = Song(13, "Home (feat. Nobody) - 2011 Remaster", "Gabrielle Aplin")
PACK = Pack((IMAGINE, THRILLER, HOME))

EMOTIONS = ("gentle longing for peace", "gleeful dread", "soft relief of belonging", "sour envy", "numb calm")
MOMENTS = (
    "singing at a vigil",
    "dancing at Halloween",
    "unpacking in a first flat",
    "waiting rooms",
    "dawn swims",
)


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """An honest entry with some fields changed; a field set to ... is left out."""
    whole = {
        "emotions_text": EMOTIONS[number],
        "emotions_confidence": "high",
        "moments_text": MOMENTS[number],
        "moments_confidence": "low",
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def aboutness(number: int) -> Aboutness:
    """What entry(number) is read as."""
    return Aboutness(EMOTIONS[number], "high", MOMENTS[number], "low")


ENTRIES = {"1": entry(0), "2": entry(1), "3": entry(2)}
WRITTEN: dict[SongId, Aboutness] = {11: aboutness(0), 12: aboutness(1), 13: aboutness(2)}


def chat_of(content: str | None, finish_reason: str = "stop", refusal: str | None = None) -> ChatAnswer:
    """A chat answer with this content, as a client reads it."""
    return ChatAnswer(content, finish_reason, refusal, Usage(0, 0, 0), model=None)


def read_content(content: str, pack: Pack = PACK) -> ReadAnswer:
    """What the product reads from an answer of this content."""
    return read_texts(chat_of(content), pack)


def read(entries: Any, pack: Pack = PACK) -> ReadAnswer:
    """What the product reads from an answer with these entries."""
    return read_content(json.dumps({"songs": entries}), pack)


def causes(answer: ReadAnswer) -> dict[Any, str]:
    """The cause of each rejected song."""
    return {failed.song_id: failed.cause for failed in answer.rejected}


DOCUMENT = json.dumps({"songs": ENTRIES})
LIST = [{"key": key, **texts} for key, texts in ENTRIES.items()]

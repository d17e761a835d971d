"""The nouns that travel down the pipeline: a song goes in, what it is about comes out."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from aboutness_assets.domain.printable import printable_line

SongId: TypeAlias = int | str
"""As the service's column holds it: int for integer and bigint, str for text and (canonical form) uuid."""

IdType: TypeAlias = Literal["integer", "text", "uuid"]
"""What a column song_id holds: smallint, integer and bigint are all "integer"."""

RequestKind: TypeAlias = Literal["pack", "single_song"]
"""How a chat request asks: for a pack of songs at once, or for one song after a pack failed it."""

Confidence: TypeAlias = Literal["low", "medium", "high"]


def song_id_of(value: object, id_type: IdType) -> SongId:
    """A song id from what a column or one of our own records holds: an int, a UUID, or text.

    Raises ValueError where an integer id is not a whole number.
    """
    return int(str(value)) if id_type == "integer" else str(value)


@dataclass(frozen=True, slots=True)
class Song:
    """One row of the catalogue; title and artist as the service spells them (None becomes '')."""

    song_id: SongId
    title: str
    artist: str


@dataclass(frozen=True, slots=True)
class Aboutness:
    """What a song is about: two clean texts (1 to 100 characters, one line), each with its confidence."""

    emotions_text: str
    emotions_confidence: Confidence
    moments_text: str
    moments_confidence: Confidence


@dataclass(frozen=True, slots=True)
class FailedSong:
    """A song that was left without a row.

    cause is one of the words of ``Cause``; reason is one sentence for a person on one printable line: it may
    quote what a provider or Postgres said.
    """

    song_id: SongId
    cause: "Cause"
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", printable_line(self.reason))


Cause: TypeAlias = Literal[
    "refused",  # the provider refused the request (a deterministic 4xx) or the model refused to answer
    "content_filter",  # the provider's content filter cut the answer
    "unparsable",  # no JSON could be read from the answer to the song's own request
    "missing",  # the answer holds no entry for the song
    "unusable_text",  # an entry whose text is empty or cannot be made valid
    "bad_confidence",  # a confidence that is none of low, medium, high
    "another_song",  # the entry speaks of another song
    "nothing_known",  # the catalogue has neither title nor artist
    "provider_unavailable",  # 5xx, time-outs or broken connections outlasted all retries
    "embedding",  # no usable vector came back
    "insert",  # Postgres refused the row
]

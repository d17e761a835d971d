"""What a contender is given to do, and how its CPU time is taken. Standard library only, for any Python."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PACK_SIZE = 10
CHAT_AT_ONCE = 64
"""Chat requests in flight."""
EMBEDDINGS_AT_ONCE = 4
TEXTS_A_REQUEST = 1000
ROWS_A_TRANSACTION = 500

REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE = 1_000_000, 1_000_000_000
"""For those that want to know the limits: so high that nobody waits, and nobody has to find them out."""

INSERT = (
    "insert into song_aboutness (song_id, emotions_text, emotions_confidence, emotions_vector,"
    " moments_text, moments_confidence, moments_vector)"
    " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing"
)

CatalogueSong = tuple[int, str, str]
"""song_id, title, artist."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What was generated for one song."""

    song_id: int
    emotions: str
    emotions_confidence: str
    moments: str
    moments_confidence: str

    @classmethod
    def of(cls, song: CatalogueSong, entry: dict[str, str]) -> "Texts":
        """From the answer's entry for the song, believed as it stands."""
        return cls(
            song[0],
            entry["emotions_text"],
            entry["emotions_confidence"],
            entry["moments_text"],
            entry["moments_confidence"],
        )


@dataclass(frozen=True, slots=True)
class Job:
    """Songs to write about, with the words of the request, so that all contenders send the same."""

    base_url: str
    service_url: str
    operations_url: str
    chat_model: str
    embedding_model: str
    system_prompt: str
    response_format: dict[str, Any]
    warm_up: list[CatalogueSong]
    songs: list[CatalogueSong]

    def messages(self, pack: list[CatalogueSong]) -> list[dict[str, str]]:
        """The messages that ask for a pack; its keys are "1", "2" …"""
        songs = [
            {"key": str(key), "title": title, "artist": artist}
            for key, (_, title, artist) in enumerate(pack, start=1)
        ]
        return [
            {"role": "system", "content": self.system_prompt},
            {"role": "user", "content": json.dumps({"songs": songs}, ensure_ascii=False)},
        ]


def packs_of(songs: list[CatalogueSong]) -> list[list[CatalogueSong]]:
    """Songs by tens."""
    return [songs[start : start + PACK_SIZE] for start in range(0, len(songs), PACK_SIZE)]


@dataclass(slots=True)
class Meter:
    """CPU time of this process by stage: user and system, all threads, no child process; in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Meters what is done in it."""
        began = cpu_seconds()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + cpu_seconds() - began


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

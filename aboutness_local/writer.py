"""The stand-in's writer: picks phrases from a bank by embedding similarity to a song's title and artist.

Belongs here: the small embedding model that ships inside the package wordllama, and the choice of phrases.
Does not belong here: anything about HTTP.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aboutness_assets.domain.songs import Aboutness, Confidence

if TYPE_CHECKING:
    from wordllama import WordLlamaInference  # type: ignore[import-untyped]

Vectors: TypeAlias = NDArray[np.float32]

MODEL_DIMENSION = 256
"""Width of wordllama's own vectors."""

READ_CHARACTERS = 1000
"""A longer text is cut to so many before it is embedded: a batch is padded to its longest text."""

FIRST_WEIGHTS = (1.0, 0.25)
"""Of the similarity to title and artist when the first phrase is chosen: a title says more about a song."""

SECOND_WEIGHTS = (0.5, 0.9, 0.4)
"""Of the similarity to title, artist and first phrase when the second phrase is chosen: songs with similar
titles differ by their artists."""

MARGIN_RANK = 14
"""The confidence depends on the lead of the nearest phrase over the fifteenth."""

FIRST_CHOICES, SECOND_CHOICES = 2, 16
"""The draw chooses among so many of the best, so that similar songs get different texts."""


def embed(texts: Sequence[str], dimensions: int) -> Vectors:
    """Unit vectors of the texts, float32, shape (len(texts), dimensions).

    Beyond the model's 256 dimensions they are padded with zeros, which changes no cosine; below, they are cut
    and normalized again. A text without any token gets the first unit vector.
    """
    vectors = np.zeros((len(texts), dimensions), dtype=np.float32)
    if not texts:
        return vectors
    width = min(dimensions, MODEL_DIMENSION)
    # The tokenizer fails on lone surrogates and on text without a token.
    readable = [text[:READ_CHARACTERS].encode("utf-8", "replace").decode() or " " for text in texts]
    vectors[:, :width] = _model().embed(readable)[:, :width]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[norms[:, 0] == 0, 0] = 1.0
    norms[norms == 0] = 1.0
    vectors /= norms
    return vectors


def write(title: str, artist: str) -> Aboutness:
    """What one song is about; see write_pack."""
    return write_pack([(title, artist)])[0]


def write_pack(songs: Sequence[tuple[str, str]]) -> list[Aboutness]:
    """What each song, given as (title, artist), is about, in the order given.

    Deterministic. Each text is two phrases of a bank, at most 98 characters. Title and artist may be of any
    script, length and content.
    """
    vectors = embed([_content_words(text) for song in songs for text in song], MODEL_DIMENSION)
    titles, artists = vectors[0::2], vectors[1::2]
    emotions = _bank("phrases_emotions.txt").choose(titles, artists, songs)
    moments = _bank("phrases_moments.txt").choose(titles, artists, songs)
    return [Aboutness(*emotion, *moment) for emotion, moment in zip(emotions, moments, strict=True)]


@dataclass(frozen=True)
class PhraseBank:
    """The phrases of one kind of text."""

    name: str
    phrases: tuple[str, ...]
    directions: Vectors
    """Of shape (phrases, 256): the unit vector from the center of the bank to each phrase."""

    def choose(
        self, titles: Vectors, artists: Vectors, songs: Sequence[tuple[str, str]]
    ) -> list[tuple[str, Confidence]]:
        """One text and its confidence per song."""
        to_titles, to_artists = titles @ self.directions.T, artists @ self.directions.T
        chosen: list[tuple[str, Confidence]] = []
        for song, to_title, to_artist in zip(songs, to_titles, to_artists, strict=True):
            draw = _stable_draw(self.name, *song)
            draw, position = divmod(draw, FIRST_CHOICES)
            scores = FIRST_WEIGHTS[0] * to_title + FIRST_WEIGHTS[1] * to_artist
            ranked = np.argsort(-scores, kind="stable")
            first = ranked[position]

            draw, position = divmod(draw, SECOND_CHOICES)
            to_first = self.directions @ self.directions[first]
            title_weight, artist_weight, first_weight = SECOND_WEIGHTS
            companions = title_weight * to_title + artist_weight * to_artist + first_weight * to_first
            companions[first] = -np.inf
            second = np.argsort(-companions, kind="stable")[position]

            pair = [self.phrases[first], self.phrases[second]]
            if draw % 2:
                pair.reverse()
            margin = float(scores[ranked[0]] - scores[ranked[MARGIN_RANK]])
            chosen.append((", ".join(pair), _confidence(margin)))
        return chosen


def _content_words(text: str) -> str:
    """The text without words such as "the", which say nothing and yet count in the model's mean."""
    words = re.findall(r"[^\W_]+", text[:READ_CHARACTERS])
    return " ".join(word for word in words if word.casefold() not in _function_words()) or text


def _confidence(margin: float) -> Confidence:
    """From the lead in cosine; with these bounds each level gets about a third of well-known songs."""
    return "high" if margin >= 0.20 else "medium" if margin >= 0.10 else "low"


def _stable_draw(*parts: str) -> int:
    digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest())


def _lines(name: str) -> list[str]:
    return (resources.files(__package__) / name).read_text(encoding="utf-8").splitlines()


@cache
def _function_words() -> frozenset[str]:
    return frozenset(_lines("function_words.txt"))


@cache
def _bank(name: str) -> PhraseBank:
    phrases = tuple(_lines(name))
    vectors = embed(phrases, MODEL_DIMENSION)
    # Phrases near the center of the bank would be close to every song; seen from the center they are not.
    directions = vectors - vectors.mean(axis=0)
    return PhraseBank(name, phrases, directions / np.linalg.norm(directions, axis=1, keepdims=True))


@cache
def _model() -> "WordLlamaInference":
    import wordllama

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

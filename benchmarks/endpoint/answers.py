"""Canned texts and vectors, chosen by a checksum: the same song or text always gets the same."""

import base64
from functools import cache
from itertools import product
from typing import Any
from zlib import crc32

import numpy as np
import orjson

MODEL_DIMENSION = 1536
"""Of text-embedding-3-small."""

VECTORS = 4096
TOKENS_PER_SONG = 75
"""Completion tokens of two texts and the names of their fields (FACTS of the project: 75)."""

_QUALITIES = "stubborn tender restless bittersweet giddy hollow defiant wistful".split()  # noqa: SIM905
_FEELINGS = "hope grief pride longing envy relief shame wonder".split()  # noqa: SIM905
_MIXTURES = "laced threaded heavy bright tangled warm sharp edged".split()  # noqa: SIM905
_TURNS = "doubt laughter regret courage tears gratitude fury peace".split()  # noqa: SIM905
_DOINGS = (
    "cooking dinner",
    "fixing a bicycle",
    "writing letters",
    "folding laundry",
    "painting walls",
    "walking the dog",
    "packing boxes",
    "waiting for the bus",
)
_PLACES = (
    "a rented kitchen",
    "an empty harbor",
    "the attic",
    "a crowded station",
    "grandmother's garden",
    "a motel parking lot",
    "the school roof",
    "a mountain hut",
)
_TIMES = "midnight dawn noon dusk Christmas autumn graduation harvest".split()  # noqa: SIM905
_WEATHERS = "rain snow fog heat wind thunder frost sunshine".split()  # noqa: SIM905

_EMOTIONS = [
    f"{quality} {feeling} {mixture} with {turn}"
    for quality, feeling, mixture, turn in product(_QUALITIES, _FEELINGS, _MIXTURES, _TURNS)
]
_MOMENTS = [
    f"{doing} in {place} at {time} under {weather}"
    for doing, place, time, weather in product(_DOINGS, _PLACES, _TIMES, _WEATHERS)
]


def entry(song: dict[str, Any]) -> dict[str, str]:
    """The answer's entry for a song; 16 million pairs of texts, none longer than 80 characters."""
    number = crc32(f"{song['title']}\0{song['artist']}".encode())
    return {
        "title": song["title"],
        "emotions_text": _EMOTIONS[number % len(_EMOTIONS)],
        "emotions_confidence": "high",
        "moments_text": _MOMENTS[number // len(_EMOTIONS) % len(_MOMENTS)],
        "moments_confidence": "medium",
    }


_BANK = np.random.default_rng(1).standard_normal((VECTORS, MODEL_DIMENSION), dtype=np.float32)
_BANK /= np.linalg.norm(_BANK, axis=1, keepdims=True)


def vector(text: str, dimensions: int, encoding: str) -> bytes:
    """The JSON of a text's unit vector: a string of base64 (little-endian float32), or a list of floats."""
    return _encoded(crc32(text.encode()) % VECTORS, dimensions, encoding)


@cache
def _encoded(number: int, dimensions: int, encoding: str) -> bytes:
    numbers = np.resize(_BANK[number], dimensions)
    numbers /= np.linalg.norm(numbers)
    if encoding == "base64":
        return b'"%b"' % base64.b64encode(numbers.astype("<f4").tobytes())
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)

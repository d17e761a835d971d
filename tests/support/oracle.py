"""Knows what every row must hold: the stand-in's writer is deterministic, so a mix-up shows in the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aboutness_assets.domain.songs import Aboutness
from aboutness_assets.generation.prompt import sent_artist, sent_title
from aboutness_assets.generation.song_fields import letters_and_digits
from aboutness_local import writer
from tests.support.backfills import Backfills, CatalogueRow, valid

SongOnTheWire = tuple[str, str]
"""Title and artist as they are sent."""

DIMENSION = 8
"""Of the vectors of the tests' services."""


class Oracle:
    """The rows that the songs of one test must have."""

    def __init__(self, songs: Sequence[CatalogueRow]) -> None:
        self.sent: dict[str, SongOnTheWire] = {
            str(song_id): (sent_title(title or ""), sent_artist(artist or ""))
            for song_id, title, artist in songs
        }
        written = writer.write_pack(list(self.sent.values()))
        self._written = dict(zip(self.sent, written, strict=True))
        texts = {(about.emotions_text, about.moments_text) for about in written}
        assert len(texts) == len(songs), (
            "two songs of this test have the same texts: a mix-up could not be seen"
        )

    def without_own_texts(self, texts: Mapping[str, Sequence[str]]) -> set[str]:
        """The songs whose row has another's texts or confidences; rows as Backfills.texts() gives them."""
        return {song_id for song_id, row in texts.items() if not _is_written_as(row, self._written[song_id])}

    def without_a_row(self, song_ids: Iterable[str]) -> set[str]:
        """The songs that are not among these."""
        return self.sent.keys() - set(song_ids)


def _is_written_as(row: Sequence[str], about: Aboutness) -> bool:
    emotions, sure_of_emotions, moments, sure_of_moments = row
    return (
        _wears(emotions, about.emotions_text)
        and _wears(moments, about.moments_text)
        and (sure_of_emotions, sure_of_moments) == (about.emotions_confidence, about.moments_confidence)
    )


def _wears(text: str, written: str) -> bool:
    """Whether a text is the written one: tidied, or said over and over and cut, where a last "on" may go."""
    own = letters_and_digits(written)
    found = letters_and_digits(text)
    return 4 * len(found) >= 3 * len(own) and (own * 8).startswith(found)


def broken_rows(backfills: Backfills, song_ids: Iterable[str]) -> set[str]:
    """Those of these songs whose row is not as CONTRACT wants it, or has vectors of other texts."""
    texts = backfills.texts()
    found = backfills.look(
        "select song_id::text, emotions_text, moments_text, emotions_vector::real[], moments_vector::real[]"
        " from song_aboutness where song_id::text = any(%s)",
        [list(song_ids)],
    )
    embedded = writer.embed([text for row in found for text in row[1:3]], DIMENSION)
    broken = {row[0] for row in found if not valid(texts[row[0]])}
    for row, expected in zip(found, embedded.reshape(-1, 2, DIMENSION), strict=True):
        if not np.allclose(row[3:5], expected, atol=1e-5):
            broken.add(row[0])
    return broken


def songs_of(request: Mapping[str, Any]) -> set[SongOnTheWire]:
    """The songs of a chat request in the endpoint's record."""
    return {(song["title"], song["artist"]) for song in request.get("songs", ())}


def answered_honestly(requests: Iterable[Mapping[str, Any]]) -> set[SongOnTheWire]:
    """The songs for which a good answer was sent, by the endpoint's record."""
    good: set[SongOnTheWire] = set()
    for request in requests:
        if request["fault"] is None and request["status"] == 200 and not request.get("is_cut"):
            good |= songs_of(request)
    return good


def asked_after_a_good_answer(requests: Sequence[Mapping[str, Any]]) -> set[SongOnTheWire]:
    """The songs that were asked for although a good answer for them had been sent: paid twice."""
    return {
        song
        for number, request in enumerate(requests)
        for song in songs_of(request) & answered_honestly(requests[:number])
    }

"""The writer: what it picks for a song, and that no title breaks it. Reads only the package's own files."""

import csv
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aboutness_local.writer import embed, write, write_pack

SAMPLE = Path(__file__).parents[2].parent / "shared" / "data" / "catalogue_sample_1000.csv"

SONGS = [
    ("Imagine", "John Lennon"),
    ("Here Comes The Sun", "The Beatles"),
    ("Dance the Night Away", "Van Halen"),
    ("Boys Don't Cry", "The Cure"),
    ("La vie en rose", "Édith Piaf"),
    ("夜に駆ける", "YOASOBI"),
]


@pytest.fixture(scope="module")
def sample() -> list[tuple[str, str]]:
    if not SAMPLE.exists():
        pytest.skip(f"the shared sample catalogue {SAMPLE.name} is not beside this clone")
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return [(row["title"], row["artist"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["phrases_emotions.txt", "phrases_moments.txt"])
def test_any_two_phrases_of_a_bank_stay_within_100_characters(name: str) -> None:
    phrases = (resources.files("aboutness_local") / name).read_text(encoding="utf-8").splitlines()
    assert len(phrases) >= 320
    assert len(set(phrases)) == len(phrases)
    assert {phrase for phrase in phrases if not 15 <= len(phrase) <= 48 or phrase != phrase.strip()} == set()
    assert not any("[" in phrase for phrase in phrases)


def test_the_same_song_gets_the_same_texts_alone_and_in_a_pack() -> None:
    assert [write(title, artist) for title, artist in SONGS] == write_pack(SONGS)


def test_an_empty_pack_gets_no_text() -> None:
    assert write_pack([]) == []


def test_a_title_shows_in_its_moments() -> None:
    assert "dancing" in write("Dance the Night Away", "Van Halen").moments_text
    assert "sun" in write("Here Comes The Sun", "The Beatles").moments_text


@given(title=st.text(max_size=200), artist=st.text(max_size=50))
@settings(max_examples=200, deadline=None)
def test_any_title_and_artist_get_valid_texts(title: str, artist: str) -> None:
    _assert_valid(title, artist)


@pytest.mark.parametrize(
    "title",
    ["", " ", "\x00", "\n\n", "🎉🎉", "\ud83d", "x" * 10_000, "a b " * 2_500, "مرحبا", '{"songs": []}'],
)
def test_rubbish_titles_get_valid_texts(title: str) -> None:
    _assert_valid(title, "")
    _assert_valid("", title)


def test_nearly_all_of_a_thousand_songs_get_texts_of_their_own(sample: list[tuple[str, str]]) -> None:
    written = write_pack(sample)
    assert len({aboutness.emotions_text for aboutness in written}) >= 0.97 * len(sample)
    assert len({aboutness.moments_text for aboutness in written}) >= 0.97 * len(sample)


def test_each_confidence_has_a_fair_share_of_a_thousand_songs(sample: list[tuple[str, str]]) -> None:
    written = write_pack(sample)
    for shares in (
        Counter(aboutness.emotions_confidence for aboutness in written),
        Counter(aboutness.moments_confidence for aboutness in written),
    ):
        assert {level: shares[level] >= 0.15 * len(sample) for level in ("low", "medium", "high")} == {
            "low": True,
            "medium": True,
            "high": True,
        }


def test_a_search_finds_moments_that_mean_the_same(sample: list[tuple[str, str]]) -> None:
    moments = [aboutness.moments_text for aboutness in write_pack(sample)]
    likeness = embed(moments, 256) @ embed(["rainy night drive"], 256)[0]
    best = [moments[position] for position in np.argsort(-likeness)[:5]]
    assert all("rain" in text or "driv" in text for text in best), best


@pytest.mark.parametrize("dimensions", [1, 64, 256, 1536])
def test_vectors_are_unit_vectors_of_the_dimension_asked_for(dimensions: int) -> None:
    vectors = embed(["first kiss", "", "🎉", "a longer text about a rainy night"], dimensions)
    assert vectors.shape == (4, dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_padding_with_zeros_changes_no_cosine() -> None:
    texts = ["first kiss", "a rainy night", "the last train"]
    narrow, wide = embed(texts, 256), embed(texts, 1536)
    np.testing.assert_allclose(narrow @ narrow.T, wide @ wide.T, atol=1e-6)


def _assert_valid(title: str, artist: str) -> None:
    aboutness = write(title, artist)
    for text in (aboutness.emotions_text, aboutness.moments_text):
        assert 1 <= len(text) <= 100
        assert text.isprintable()
        assert "[confidence" not in text.lower()
    assert {aboutness.emotions_confidence, aboutness.moments_confidence} <= {"low", "medium", "high"}

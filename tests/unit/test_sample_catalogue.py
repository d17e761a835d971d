"""The sample catalogue of aboutness-local: real songs, and rows as they were written before the new rules."""

import csv
import re
import unicodedata
from collections import Counter
from importlib.resources import files
from io import StringIO

import pytest

LOCAL = files("aboutness_local")
CONFIDENCE_TAG = re.compile(r"\[confidence: (?:low|medium|high)\]$")
MORE_THAN_ONE_SENTENCE = re.compile(r"[.!?] \S")


def read_rows(name: str, header: list[str]) -> list[list[str]]:
    text = LOCAL.joinpath(name).read_text(encoding="utf-8")
    first, *rows = csv.reader(StringIO(text, newline=""), strict=True)
    assert first == header
    assert {len(row) for row in rows} == {len(header)}
    return rows


@pytest.fixture(scope="module")
def songs() -> list[list[str]]:
    return read_rows("sample_songs.csv", ["song_id", "title", "artist"])


@pytest.fixture(scope="module")
def old_rows() -> list[list[str]]:
    return read_rows("old_style_rows.csv", ["song_id", "emotions_text", "moments_text"])


def test_song_ids_run_from_one_without_gaps(songs: list[list[str]]) -> None:
    assert [song_id for song_id, _, _ in songs] == [str(n) for n in range(1, len(songs) + 1)]


def test_the_catalogue_holds_more_songs_than_one_range_of_the_default_size(songs: list[list[str]]) -> None:
    assert len(songs) >= 1_050


def test_no_song_stands_twice(songs: list[list[str]]) -> None:
    times = Counter((title.casefold(), artist.casefold()) for _, title, artist in songs)
    assert [song for song, n in times.items() if n > 1] == []


def test_no_artist_fills_the_catalogue(songs: list[list[str]]) -> None:
    artist, count = Counter(artist for _, _, artist in songs).most_common(1)[0]
    assert count <= len(songs) // 50, f"{artist} has {count} of {len(songs)} songs"


@pytest.mark.parametrize("name", ["sample_songs.csv", "old_style_rows.csv"])
def test_files_are_utf8_nfc_with_unix_line_ends(name: str) -> None:
    raw = LOCAL.joinpath(name).read_bytes()
    text = raw.decode("utf-8")
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert text.endswith("\n")
    assert text == unicodedata.normalize("NFC", text)
    assert {c for c in text if unicodedata.category(c) in {"Cc", "Cs", "Co"}} == {"\n"}
    assert "\ufffd" not in text


def test_every_field_is_filled_and_trimmed(songs: list[list[str]], old_rows: list[list[str]]) -> None:
    fields = [field for row in [*songs, *old_rows] for field in row]
    assert [field for field in fields if not field or field != field.strip() or "\n" in field] == []


@pytest.mark.parametrize(
    ("script", "at_least"),
    [
        ("CYRILLIC", 20),
        ("GREEK", 5),
        ("ARABIC", 10),
        ("HEBREW", 10),
        ("DEVANAGARI", 10),
        ("HANGUL", 20),
        ("HIRAGANA", 20),
        ("KATAKANA", 10),
        ("CJK UNIFIED", 50),
    ],
)
def test_titles_stand_in_many_scripts(script: str, at_least: int, songs: list[list[str]]) -> None:
    # A character's Unicode name begins with its script.
    titles = [
        title for _, title, _ in songs if any(unicodedata.name(c, "").startswith(script) for c in title)
    ]
    assert len(titles) >= at_least


def test_some_titles_and_artists_need_csv_quoting(songs: list[list[str]]) -> None:
    names = [name for _, *row in songs for name in row]
    assert any("," in name for name in names)
    assert any('"' in name for name in names)


def test_sixty_five_songs_have_an_old_style_row(songs: list[list[str]], old_rows: list[list[str]]) -> None:
    ids = [song_id for song_id, _, _ in old_rows]
    assert len(ids) == len(set(ids)) == 65
    assert set(ids) <= {song_id for song_id, _, _ in songs}


def test_old_style_rows_are_spread_over_the_catalogue(
    songs: list[list[str]], old_rows: list[list[str]]
) -> None:
    ids = [int(song_id) for song_id, _, _ in old_rows]
    assert 5 <= sum(song_id <= 50 for song_id in ids) <= 20
    quarters = Counter((song_id - 1) * 4 // len(songs) for song_id in ids)
    assert set(quarters) == {0, 1, 2, 3}


def test_every_old_style_row_shows_its_age(old_rows: list[list[str]]) -> None:
    def is_old_style(text: str) -> bool:
        return bool(len(text) > 100 or CONFIDENCE_TAG.search(text) or MORE_THAN_ONE_SENTENCE.search(text))

    assert [row for row in old_rows if not any(map(is_old_style, row[1:]))] == []


@pytest.mark.parametrize("column", [1, 2], ids=["emotions_text", "moments_text"])
def test_old_texts_break_each_new_rule_somewhere(column: int, old_rows: list[list[str]]) -> None:
    texts = [row[column] for row in old_rows]
    assert sum(len(text) > 100 for text in texts) >= 10
    assert sum("[confidence: high]" in text for text in texts) >= 10
    assert sum("[confidence: medium]" in text for text in texts) >= 3
    assert sum("[confidence:" not in text for text in texts) >= 10
    assert len(set(texts)) == len(texts)

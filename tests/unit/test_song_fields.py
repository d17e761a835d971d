"""A song's own words on their way into a request, and compared with what comes back."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.generation.song_fields import clean_song_field, letters_and_digits

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)  # lone surrogates too


@given(ANY_TEXT, st.integers(1, 200))
def test_a_song_field_is_one_sendable_line_within_its_length(value: str, most: int) -> None:
    field = clean_song_field(value, most)
    assert len(field) <= most
    assert field == " ".join(field.split())
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in field)
    field.encode()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ('"B" Girls', '"B" Girls'),
        ("[Commentary] LO$ER=LO♡ER", "[Commentary] LO$ER=LO♡ER"),
        ("Cafe\u0301", "Cafe\u0301"),
        (" CHINA  TOWN\tSHUFFLE ", "CHINA TOWN SHUFFLE"),
        ("a\0b\x1b[31mc\ud800", "ab[31mc"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_song_field_is_otherwise_as_the_service_spells_it(value: str, field: str) -> None:
    assert clean_song_field(value, 200) == field


def test_a_song_field_is_cut_between_graphemes() -> None:
    family = "👩‍👩‍👧"  # five code points
    assert clean_song_field(family * 3, 14) == family * 2
    assert clean_song_field("ab cd", 3) == "ab"
    assert clean_song_field("e" + "\u0301" * 300, 200) == "e" + "\u0301" * 199


def test_two_spellings_of_a_title_share_their_letters_and_digits() -> None:
    assert letters_and_digits("Ｂeyoncé — “Déjà Vu” (2006)") == letters_and_digits("beyonce: deja vu 2006")
    assert letters_and_digits("→") == ""

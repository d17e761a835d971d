"""The rules of a text: whatever a model writes comes out valid or not at all."""

import sys
import unicodedata

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.generation.cleaning import clean_text, is_valid_text

EVERY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates too
ANY_TEXT = st.text(EVERY_CHARACTER, max_size=300)
TAGS = (
    *("[confidence: high]", "[confidence:", "(Confidence=low)", "[conﬁdence:", "[CONFıDENCE:"),
    *("con", "fidence", "【confidence：low】"),
)
FRAME = (
    *("[", "]", "(", ")", "{", "**", "*", "_", "`", "~~", "#", "- ", "1. ", "• "),
    *("Emotions:", "text - ", ": ", "(8 characters)"),
)
QUOTES = ('"', "'", "“", "”", "’", "«", "»", "「", "」")
GAPS = (" ", "\n", "\n- ", "\t", "\u2028", "\x85", "\x1c", ", ", ". ", " — ", "…", "、")
HIDDEN = ("\u200b", "\u200c", "\u200d", "\u202e", "\ufeff", "\0", "\ud800", "\ufe0f", "\u034f", "\U000e0067")
LETTERS = (
    *("joy", "and", "N/A", "a" * 60, "喜び", "ถ้า", "می", "क्", "ष", "👩", "🏴"),
    *("e\u0301", "\u0958", "\u1100\u1161"),
)
FRAGMENTS = st.sampled_from(TAGS + FRAME + QUOTES + GAPS + HIDDEN + LETTERS)
NASTY_TEXT = st.lists(FRAGMENTS, max_size=40).map("".join)


@given(ANY_TEXT | NASTY_TEXT)
def test_whatever_comes_in_a_valid_text_or_nothing_comes_out(raw: str) -> None:
    text = clean_text(raw)
    assert text == "" or is_valid_text(text)
    assert unicodedata.is_normalized("NFC", text)
    assert text == " ".join(text.split())


@given(ANY_TEXT | NASTY_TEXT)
def test_cleaning_twice_changes_nothing(raw: str) -> None:
    assert clean_text(clean_text(raw)) == clean_text(raw)


@given(ANY_TEXT | NASTY_TEXT)
def test_no_case_or_normal_form_of_a_clean_text_holds_a_tag(raw: str) -> None:
    text = clean_text(raw)
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    for form in forms:
        for cased in (form, form.lower(), form.upper().lower(), form.casefold(), form.title().lower()):
            assert "[confidence:" not in cased


@given(ANY_TEXT | NASTY_TEXT)
def test_nothing_invisible_is_left(raw: str) -> None:
    invisible = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cs}\p{Bidi_Control}]")
    assert not invisible.search(clean_text(raw))


@pytest.mark.parametrize(
    "text",
    [
        "aching homesickness that softens into quiet acceptance",
        "rock 'n' roll swagger",
        "'til dawn, still dancin'",
        "'90s summers and don't-look-back pride",
        "“good” girls gone bold",
        '"almost" and "never"',
        "the 'what ifs' of a marriage",
        "driving home, 2:30 a.m., radio low",
        "90s nostalgia",
        "a f*ck-it shrug at the world",
        "snake_case_irony",
        "quiet confidence: earned, not given",
        "pride (confidence regained)",
        "hope (the stubborn kind)",
        "joy – and then - silence",
        "「喜び」と「悲しみ」",
        "„Sehnsucht“ und Glück",
        "melancholy – but bright",
        "💔 heartbreak",
        "3 a.m. loneliness",
        "Feelings of home",
        "Moments before the storm",
        "Joy and hope.",
    ],
)
def test_a_good_text_stays_as_it_is(text: str) -> None:
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        # invisible characters, and letters in pieces
        ("jo\0y\x07", "joy"),
        ("joy\ud83d", "joy"),
        ("\ufeffjo\u200by\u202e\u2066", "joy"),
        ("un\u00adfor\u00adgotten love", "unforgotten love"),
        ("cafe\u0301 at dawn", "café at dawn"),
        # several lines, and lists
        ("joy\r\nand\thope\u2028now", "joy and hope now"),
        ("  joy\u00a0\u3000and  hope ", "joy and hope"),
        ("- joy\n- hope\n- fear", "joy, hope, fear"),
        ("• joy • hope", "joy, hope"),
        ("Emotions:\n1. joy.\n2. hope", "joy. hope"),
        # Markdown
        ("**joy** and *hope*", "joy and hope"),
        ("__joy__, _hope_", "joy, hope"),
        ("***joy***", "joy"),
        ("`joy`", "joy"),
        ("# Joy", "Joy"),
        ("> joy", "joy"),
        # bullets, numbers and stray punctuation at the ends
        ("- joy", "joy"),
        ("• joy", "joy"),
        ("1. joy", "joy"),
        ("2) joy", "joy"),
        ("…and then silence", "and then silence"),
        ("joy,", "joy"),
        ("joy —", "joy"),
        # labels
        ("Emotions: joy", "joy"),
        ("**Emotions:** joy", "joy"),
        ("emotions_text: joy", "joy"),
        ('"moments_text": "dawn"', "dawn"),
        ("Moments – dawn at the harbor", "dawn at the harbor"),
        ("Key Emotions： joy", "joy"),
        # the count of characters
        ("slow joy (8 characters)", "slow joy"),
        ("slow joy [8 chars].", "slow joy"),
        # quotes
        ('"Joy and hope"', "Joy and hope"),
        ("“Joy and hope”", "Joy and hope"),
        ("'Joy and hope'", "Joy and hope"),
        ("‘Joy’", "Joy"),
        ("'I don't know why'", "I don't know why"),
        ("«Joie»", "Joie"),
        ("「喜び」", "喜び"),
        ("„Glück“", "Glück"),
        ('"Joy and hope".', "Joy and hope."),
        ('"Joy and hope."', "Joy and hope."),
        ("\"'Joy'\"", "Joy"),
        ('"Driftin\' home"', "Driftin' home"),
        ('"Longing', "Longing"),
        ('Longing"', "Longing"),
    ],
)
def test_what_a_model_adds_is_removed(raw: str, text: str) -> None:
    assert clean_text(raw) == text


@pytest.mark.parametrize(
    "tag",
    [
        "[confidence: high]",
        "[Confidence: HIGH]",
        "[ CONFIDENCE :low ]",
        "[confidence=medium]",
        "[confidence medium]",
        "[confidence - high]",
        "(confidence: high)",
        "(high confidence)",
        "[very high confidence]",
        "{confidence: 0.9}",
        "【confidence：high】",
        "（Confidence：high）",
        "[[confidence: high]]",
        "[confidence: high",
        "[confidence:",
        "[confidence: high, as it is widely known]",
        "[emotions_confidence: low]",
        "[confidence level: 80%]",
        "[con\u200bfi\u200ddence: high]",
        "[con\u00adfidence: high]",
        "[confidence: high] [confidence: low]",
        "**[confidence: high]**",
        "**[confidence:** high]",
        "— confidence: high",
        "confidence: high.",
        "Confidence = low",
        "\n[confidence: medium]",
    ],
)
def test_a_confidence_tag_is_removed(tag: str) -> None:
    assert clean_text(f"slow joy {tag}") == "slow joy"


@pytest.mark.parametrize("where", ["{} slow joy", "slow {} joy", "slow{}joy"])
def test_a_confidence_tag_is_removed_wherever_it_is(where: str) -> None:
    assert clean_text(where.format("[Confidence: low]")) == "slow joy"


def test_every_character_that_some_case_or_form_turns_into_a_letter_of_the_tag_is_seen() -> None:
    letters = set("[confidence:")
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        mapped = {
            character.lower(),
            character.upper().lower(),
            character.title().lower(),
            character.casefold(),
        }
        mapped |= {unicodedata.normalize(form, character).lower() for form in ("NFC", "NFKC")}
        for letter in mapped & letters:
            disguised = "[confidence:".replace(letter, character)
            assert not is_valid_text(f"joy {disguised} high]"), hex(point)
            assert "fidence" not in clean_text(f"joy {disguised} high]").casefold(), hex(point)


@pytest.mark.parametrize(
    "raw",
    [
        *(
            "",
            " ",
            "-",
            "…",
            "?",
            "24/7",
            "!!!",
            "\u0301",
            "N/A",
            "n/a.",
            "None",
            "(none)",
            '"null"',
            "unknown",
        ),
        *("Unknown.", "Emotions:", "Moments", "[confidence: high]", "high", "string", "null\0", "💔"),
        *("As an AI, I cannot say", "I don't know this song", "Not enough information available"),
        *("a" * 150, "a" * 101),
    ],
)
def test_nothing_comes_out_where_nothing_is_said(raw: str) -> None:
    assert clean_text(raw) == ""


def test_a_long_text_is_cut_to_the_length_that_the_table_takes() -> None:
    assert clean_text('"' + "slow joy turning to grief, " * 5 + '"') == ", ".join(
        ["slow joy turning to grief"] * 3
    )


def test_an_endless_answer_is_cut_like_any_other() -> None:
    assert clean_text("slow joy, " * 100_000).startswith("slow joy, slow joy")
    for pattern in (
        "[confidence: ",
        "[confidence:",
        "[con",
        "\n",
        "- ",
        "1. ",
        '"',
        "_",
        "* ",
        "(",
        "'a'",
        "\n- ",
    ):
        assert len(clean_text(pattern * 100_000)) <= 100


@pytest.mark.parametrize(
    "text",
    [
        *("", "a" * 101, "two\nlines", "two\u2028lines", "line\n", "nul\0", "half \ud83d"),
        *("x [Confidence: y", "[CONFıDENCE:", "［ｃｏｎｆｉｄｅｎｃｅ：", "[conﬁdence:", "[cónfidence:"),
    ],
)
def test_a_text_that_the_table_must_not_hold_is_not_valid(text: str) -> None:
    assert not is_valid_text(text)


@pytest.mark.parametrize("text", ["a", "é" * 100, "confidence: high", "[confidence]"])
def test_a_text_that_the_table_may_hold_is_valid(text: str) -> None:
    assert is_valid_text(text)

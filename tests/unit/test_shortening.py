"""Where a text that is too long is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.generation.shortening import shortened

LIMIT = 100
WORDS = st.lists(
    st.sampled_from(["grief", "relief", "joy", "longing", "slow", "tender", "homeward"]), max_size=60
)


@given(WORDS)
def test_a_long_text_is_cut_after_a_whole_word(words: list[str]) -> None:
    text = shortened(" ".join(words), LIMIT)
    assert len(text) <= LIMIT
    assert text.split() == words[: len(text.split())]
    if len(" ".join(words)) > LIMIT:
        assert len(text) > LIMIT - 10  # the longest word and its space


def test_a_text_within_the_limit_stays_as_it_is() -> None:
    assert shortened("a" * LIMIT, LIMIT) == "a" * LIMIT
    assert shortened("waiting for the", LIMIT) == "waiting for the"


def test_a_long_text_ends_with_its_last_whole_clause() -> None:
    clause = "the slow ache of missing someone who left for good, then an odd relief"
    assert shortened(f"{clause}, and the shame of feeling any relief at all", LIMIT) == clause
    assert shortened(f"{clause} — and the shame of feeling any relief at all", LIMIT) == clause


def test_a_clause_that_ends_early_does_not_shorten_a_text_to_little() -> None:
    assert len(shortened("joy, " + "unbroken " * 20, LIMIT)) > 85


def test_nothing_is_left_of_one_endless_word() -> None:
    assert shortened("a" * (LIMIT + 1), LIMIT) == ""


def test_a_bracket_that_opens_early_and_never_closes_costs_no_more_than_itself() -> None:
    assert shortened("joy (" + "unbroken " * 20, LIMIT) == "joy " + " ".join(["unbroken"] * 10)


@pytest.mark.parametrize("loose", ["and", "with the", "of", "— but", "(the", '"so', "“so"])
def test_nothing_dangles_after_a_cut(loose: str) -> None:
    start = "slow bright tender waiting " * 3 + "grief"  # 86 characters without a clause
    assert shortened(f"{start} {loose} longingandlonging", LIMIT) == start


def test_brackets_that_close_before_the_cut_stay() -> None:
    start = "slow bright tender waiting (the kind) " * 2 + "for a train"
    assert shortened(f"{start} {'x' * 30}", LIMIT) == start

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.money.token_counts import by_characters, name_tokens, token_counter


@given(st.text())
def test_every_character_counts_and_no_name_is_below_zero(name: str) -> None:
    assert name_tokens(name) >= 0.3 * len(name)


def test_scripts_differ() -> None:
    ascii_name, latin, cyrillic, japanese = map(name_tokens, ("abcd", "éàüß", "ночь", "夜の歌よ"))
    assert ascii_name < cyrillic < japanese < latin


def test_the_tokenizer_counts_where_it_is_installed() -> None:
    pytest.importorskip("bpe_openai", reason="the extra tokens")
    counter = token_counter.__wrapped__()
    assert counter.source == "o200k tokenizer"
    assert counter.name("hello world") == counter.text("hello world") == 2
    assert counter.name("<|endoftext|>") > 1  # a title, not a command to the tokenizer
    assert counter.name("\ud800") > 0
    assert counter.name("") == 0


def test_without_the_extra_characters_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    assert token_counter.__wrapped__() == by_characters()

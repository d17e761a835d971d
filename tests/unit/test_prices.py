import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.money.prices import cost_usd


def test_a_cached_prompt_token_costs_a_tenth() -> None:
    million = 1_000_000
    assert cost_usd("gpt-6-luna", prompt_tokens=million) == pytest.approx(0.10)
    assert cost_usd("gpt-6-luna", prompt_tokens=million, cached_tokens=million) == pytest.approx(0.01)
    assert cost_usd("gpt-6-luna", prompt_tokens=0, completion_tokens=million) == pytest.approx(0.50)
    assert cost_usd("text-embedding-3-small", prompt_tokens=million) == pytest.approx(0.02)


def test_a_dated_snapshot_costs_what_its_model_costs() -> None:
    assert cost_usd("gpt-6-luna-2026-08-01", prompt_tokens=10) == cost_usd("gpt-6-luna", prompt_tokens=10)


def test_a_model_of_unknown_price_has_no_cost_rather_than_none_to_pay() -> None:
    assert cost_usd("some-other-model", prompt_tokens=10) is None


@given(st.text())
def test_tokens_are_never_estimated_below_a_quarter_nor_above_one_a_character(text: str) -> None:
    assert len(text) / 4 <= estimate_tokens(text) <= len(text)


def test_tokens_of_ascii_are_a_quarter_and_of_other_scripts_one_each() -> None:
    assert estimate_tokens("abcde") == 2
    assert estimate_tokens("夜の歌") == 3
    assert estimate_tokens("ñandu") == 2

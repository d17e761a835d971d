"""What requests can cost at most, and how answers are booked."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.chat import Usage
from aboutness_assets.money.ledger import UNCERTAIN
from aboutness_assets.money.prices import chat_price, embedding_price
from aboutness_assets.money.tariff import FRAME_TOKENS, Tariff

CHAT = chat_price("model", "0.10,0.01,0.50 (our contract)")
EMBEDDING = embedding_price("vectors", "0.02 (our contract)")
TARIFF = Tariff(CHAT, EMBEDDING, "standard", names_standard_tier=True)
CHARGE = TARIFF.chat_charge("model", body_bytes=4_000, max_completion_tokens=1_000)
USAGE = Usage(950, 590)


def test_an_answer_is_billed_by_its_usage_and_by_the_tier_that_served_it() -> None:
    standard = TARIFF.outcome(CHARGE, USAGE, "default")
    flex = TARIFF.outcome(CHARGE, USAGE, "flex")

    assert (standard.state, standard.tier) == ("billed", "default")
    assert standard.usd == pytest.approx((950 * 0.10 + 590 * 0.50) / 1e6)
    assert flex.usd == pytest.approx((950 * 0.10 + 590 * 0.50) / 2e6)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        replace(USAGE, is_credible=False),
        Usage(950, 1_001),
        Usage(4_000_000, 10),
    ],
    ids=["none", "impossible", "longer than its limit", "more than it can cost"],
)
def test_a_usage_that_is_missing_or_cannot_be_true_is_uncertain(usage: Usage | None) -> None:
    assert TARIFF.outcome(CHARGE, usage, None) is UNCERTAIN


@given(
    prompt=st.integers(1, 4_000 + FRAME_TOKENS),
    completion=st.integers(0, 1_000),
    cached=st.integers(0, 5_000),
    written=st.integers(0, 5_000),
    tier=st.sampled_from(["default", "flex"]),
)
def test_nothing_within_the_bounds_costs_more_than_is_reserved(
    prompt: int, completion: int, cached: int, written: int, tier: str
) -> None:
    assert CHAT is not None
    assert CHARGE.max_usd is not None
    cached = min(cached, prompt)
    usd = CHAT.cost(
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_write_tokens=min(written, prompt - cached),
        completion_tokens=completion,
        tier=tier,
    )
    assert usd <= CHARGE.max_usd


def test_a_tier_that_is_not_named_may_cost_double() -> None:
    unnamed = replace(TARIFF, names_standard_tier=False)

    charge = unnamed.chat_charge("model", body_bytes=4_000, max_completion_tokens=1_000)

    assert CHARGE.max_usd is not None
    assert charge.max_usd == pytest.approx(2 * CHARGE.max_usd)


@given(texts=st.lists(st.text(max_size=100), min_size=2, max_size=20))
def test_embedding_the_texts_of_a_pack_never_costs_more_than_was_promised(texts: list[str]) -> None:
    songs = -(-len(texts) // 2)
    body = sum(len(text.encode("utf-8", "surrogatepass")) + 20 for text in texts) + 150

    charge = TARIFF.embedding_charge("vectors", body_bytes=body)

    assert charge.max_usd is not None
    assert charge.max_usd <= TARIFF.promised_usd(songs)


def test_unknown_prices_say_which_setting_helps() -> None:
    unknown = Tariff(None, EMBEDDING, "standard")

    assert not unknown.is_known
    assert unknown.source == "chat: unknown, set ABOUTNESS_CHAT_PRICE; embeddings: our contract"
    assert unknown.chat_charge("model", body_bytes=1, max_completion_tokens=1).max_usd is None
    assert unknown.outcome(replace(CHARGE, max_usd=None), USAGE, None).usd is None
    assert Tariff(None, None, "standard").promised_usd(10) == 0.0


def test_a_billed_tier_whose_price_nobody_published_is_said_to_be_so() -> None:
    def note(tier: str | None) -> str | None:
        return TARIFF.tier_note(CHARGE, TARIFF.outcome(CHARGE, USAGE, tier))

    assert note(None) is note("default") is None
    assert "'flex' is assumed: 0.5 times the standard price (our contract)" in (note("flex") or "")
    assert "'scale' is not known: the dearest" in (
        TARIFF.tier_note(CHARGE, replace(TARIFF.outcome(CHARGE, USAGE, None), tier="scale")) or ""
    )
    assert TARIFF.tier_note(CHARGE, UNCERTAIN) is None

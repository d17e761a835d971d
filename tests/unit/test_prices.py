from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.money.price_list import RELEASED, listed_price
from aboutness_assets.money.prices import Price, chat_price, embedding_price

MILLION = 1_000_000
LUNA, SMALL = "gpt-6-luna", "text-embedding-3-small"
TIERS = ("standard", "default", "flex", "batch", "priority", "fast", "auto", "scale")

counts = st.integers(0, 400_000)
dollars = st.decimals(0, 10_000, places=4, allow_nan=False, allow_infinity=False)


def luna() -> Price:
    price = chat_price(LUNA, None)
    assert price is not None
    return price


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """The listed price of a model with long-context rates, or one by a setting."""
    if draw(st.booleans()):
        return luna()
    prompt, completion = draw(dollars), draw(dollars)
    cached = draw(st.decimals(0, prompt, places=4))
    price = chat_price("some-model", f"{prompt},{cached},{completion}")
    assert price is not None
    return price


# The list


@pytest.mark.parametrize(
    ("tier", "factor"),
    [("standard", 1), ("default", 1), ("flex", 0.5), ("batch", 0.5), ("priority", 2), ("fast", 2)],
)
def test_the_listed_price_of_the_chat_model(tier: str, factor: float) -> None:
    # OpenAI's price list of November 2026: 0.10, cached 0.01, cache write 0.125, output 0.50.
    rates = luna().rates_of(tier)
    assert [float(rate) for rate in (rates.prompt, rates.cached, rates.cache_write, rates.completion)] == [
        pytest.approx(factor * rate) for rate in (0.10, 0.01, 0.125, 0.50)
    ]
    assert luna().tier_note(tier) is None  # published, not assumed


def test_the_listed_price_of_the_embedding_model() -> None:
    price = embedding_price(SMALL, None)
    assert price is not None
    assert price.cost(prompt_tokens=MILLION) == 0.02
    assert price.cost(prompt_tokens=MILLION, tier="batch") == 0.01
    assert price.upper_bound(prompt_tokens=MILLION) == 0.02


def test_the_source_names_the_list_its_version_and_its_date() -> None:
    installed = version("genai-prices")
    assert installed in RELEASED, "look up when this version was uploaded and add it"
    assert luna().source == f"genai-prices {installed} (OpenAI, {RELEASED[installed]})"
    assert not luna().is_pretend


@pytest.mark.parametrize("snapshot", ["gpt-6-luna-2026-08-01", "GPT-6-Luna", "gpt-6-luna-20260801"])
def test_a_dated_snapshot_costs_what_its_model_costs(snapshot: str) -> None:
    price = chat_price(snapshot, None)
    assert price is not None
    assert price.rates == luna().rates


@pytest.mark.parametrize("model", ["some-other-model", "gpt-6-luna-of-mine", "", SMALL, "tts-1"])
def test_a_chat_model_that_the_list_lacks_has_no_price(model: str) -> None:
    assert chat_price(model, None) is None


@pytest.mark.parametrize("setting", [None, ""])
def test_an_embedding_model_that_the_list_lacks_has_no_price(setting: str | None) -> None:
    assert embedding_price("some-other-model", setting) is None


@pytest.mark.parametrize(
    ("base_url", "model", "source"),
    [
        ("https://api.openai.com/v1", LUNA, "OpenAI"),
        ("https://mine.openai.azure.com/openai/v1?api-version=1", LUNA, "Microsoft Azure"),
        ("http://127.0.0.1:4000/v1", LUNA, "OpenAI"),  # a gateway
        ("http://127.0.0.1:4000/v1", "claude-haiku-4-5", "Anthropic"),
    ],
)
def test_the_endpoint_decides_whose_price_counts(base_url: str, model: str, source: str) -> None:
    price = chat_price(model, None, base_url=base_url)
    assert price is not None
    assert f"({source}," in price.source


def test_another_providers_model_has_no_price_at_openai() -> None:
    assert chat_price("claude-haiku-4-5", None, base_url="https://api.openai.com/v1") is None


def test_a_regional_host_takes_a_tenth_more() -> None:
    price = chat_price(LUNA, None, base_url="https://eu.api.openai.com/v1")
    assert price is not None
    assert price.cost(prompt_tokens=1000, completion_tokens=1000) == pytest.approx(
        1.1 * luna().cost(prompt_tokens=1000, completion_tokens=1000)
    )
    assert "regional" in price.source


def test_the_price_is_that_of_the_day() -> None:
    # AWS cut it by 80 % on 30 July 2026.
    host, model = "https://bedrock-runtime.us-east-1.amazonaws.com", "us.openai.gpt-5.6-luna"
    before = listed_price(model, host, at=datetime(2026, 7, 29, tzinfo=UTC))
    after = listed_price(model, host, at=datetime(2026, 7, 31, tzinfo=UTC))
    assert before is not None
    assert after is not None
    assert before.rates["standard"][0].prompt == 5 * after.rates["standard"][0].prompt


def test_a_tier_that_nobody_published_is_assumed_and_said_to_be() -> None:
    price = chat_price("gpt-4o-mini", None)
    assert price is not None
    assert price.tier_note("standard") is None
    note = price.tier_note("flex")
    assert note is not None
    assert "gpt-4o-mini" in note
    assert "assumed" in note


def test_the_tiers_of_another_provider_are_not_taken_for_published() -> None:
    # Azure's models fall back to OpenAI's standard prices in the list, not to its tiers.
    price = chat_price(LUNA, None, base_url="https://mine.openai.azure.com/openai/v1")
    assert price is not None
    assert price.assumed_tiers == {"flex", "batch", "priority"}


def test_an_unknown_tier_costs_what_the_dearest_known_one_does_and_is_said_to() -> None:
    assert luna().cost(prompt_tokens=1000, tier="scale") == luna().cost(prompt_tokens=1000, tier="priority")
    note = luna().tier_note("scale")
    assert note is not None
    assert "'scale'" in note


def test_a_long_prompt_costs_more_per_token() -> None:
    assert luna().cost(prompt_tokens=272_000) == pytest.approx(0.0272)
    assert luna().cost(prompt_tokens=272_001) == pytest.approx(0.0544002)


# Settings


def test_the_setting_wins_over_the_list() -> None:
    price = chat_price(LUNA, " 1, .1 ,4. ")
    assert price is not None
    assert price.source == "ABOUTNESS_CHAT_PRICE"
    assert price.cost(prompt_tokens=MILLION, completion_tokens=MILLION) == 5
    assert price.cost(prompt_tokens=MILLION, cached_tokens=MILLION) == 0.1
    assert price.cost(prompt_tokens=MILLION, cache_write_tokens=MILLION) == 1.25
    assert price.cost(prompt_tokens=MILLION, tier="flex") == 0.5
    embedding = embedding_price(SMALL, "0.13")
    assert embedding is not None
    assert embedding.source == "ABOUTNESS_EMBEDDING_PRICE"
    assert embedding.cost(prompt_tokens=MILLION) == 0.13


def test_a_note_in_the_setting_becomes_the_source() -> None:
    ours = chat_price(LUNA, "1,.1,4 (our contract of May 2026)")
    pretend = chat_price("stand-in-writer", "0.1,0.01,0.5 (pretend price of the embedded environment)")
    embedding = embedding_price("stand-in-wordllama", "0.02 (pretend price of the embedded environment)")
    assert ours is not None
    assert (ours.source, ours.is_pretend) == ("our contract of May 2026", False)
    for price in (pretend, embedding):
        assert price is not None
        assert (price.source, price.is_pretend) == ("pretend price of the embedded environment", True)


@given(dollars, dollars, dollars)
def test_every_price_within_bounds_is_read_as_it_stands(
    one: Decimal, other: Decimal, completion: Decimal
) -> None:
    cached, prompt = sorted((one, other))
    price = chat_price("m", f"{prompt:f},{cached:f},{completion:f}")
    assert price is not None
    rates = price.rates_of("standard")
    assert (rates.prompt, rates.cached, rates.completion) == (prompt, cached, completion)


@pytest.mark.parametrize(
    "setting",
    [
        *("1", "1,2", "1,1,1,1", "1,,1", "-1,0,1", "nan,0,1", "inf,0,1", "1e3,0,1", "1_0,0,1", "1;0;1"),
        *("$1,0,1", "１,0,1", "1 0,0,1", " ", "1,0,1 (", "1,0,1 ()", "1,0,1 (a) (b)", "1,0,1 (two\nlines)"),
        "(pretend)",
    ],
)
def test_a_malformed_chat_price_is_refused_by_name(setting: str) -> None:
    with pytest.raises(SettingsError, match=r"^ABOUTNESS_CHAT_PRICE: must be input,cached,output in dollars"):
        chat_price(LUNA, setting)


@pytest.mark.parametrize("setting", ["0.1,0.01", "free", "-0.02", "0.02 0.03"])
def test_a_malformed_embedding_price_is_refused_by_name(setting: str) -> None:
    with pytest.raises(SettingsError, match=r"^ABOUTNESS_EMBEDDING_PRICE: must be input in dollars"):
        embedding_price(SMALL, setting)


def test_a_price_by_the_token_or_in_cents_is_taken_for_an_error() -> None:
    with pytest.raises(SettingsError, match="ABOUTNESS_CHAT_PRICE: 10001 dollars per million tokens is more"):
        chat_price(LUNA, "1,1,10001")


def test_prices_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(SettingsError, match="the order is input,cached,output"):
        chat_price(LUNA, "0.10,0.50,0.01")


@given(st.text(max_size=30))
def test_whatever_a_setting_holds_it_is_a_price_or_a_sentence(setting: str) -> None:
    for of, name in ((chat_price, "ABOUTNESS_CHAT_PRICE"), (embedding_price, "ABOUTNESS_EMBEDDING_PRICE")):
        try:
            price = of("m", setting)
        except SettingsError as error:
            assert str(error).startswith(f"{name}: ")
        else:
            assert price is None or price.cost(prompt_tokens=10, completion_tokens=10) >= 0


# Arithmetic


@given(prices(), st.integers(), st.integers(), st.integers(), st.integers(), st.sampled_from(TIERS))
def test_no_cost_is_negative(
    price: Price, prompt: int, cached: int, written: int, completion: int, tier: str
) -> None:
    usd = price.cost(
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=completion,
        tier=tier,
    )
    assert usd >= 0


@given(prices(), st.tuples(counts, counts, counts, counts), counts, st.sampled_from(TIERS))
def test_more_tokens_never_cost_less(
    price: Price, tokens: tuple[int, int, int, int], more: int, tier: str
) -> None:
    prompt, cached, written, completion = tokens

    def cost(prompt: int, completion: int) -> float:
        return price.cost(
            prompt_tokens=prompt,
            cached_tokens=cached,
            cache_write_tokens=written,
            completion_tokens=completion,
            tier=tier,
        )

    assert cost(prompt + more, completion) >= cost(prompt, completion)
    assert cost(prompt, completion + more) >= cost(prompt, completion)


@given(prices(), counts, counts, counts, st.sampled_from(TIERS))
def test_more_cached_tokens_never_cost_more(
    price: Price, prompt: int, cached: int, more: int, tier: str
) -> None:
    def cost(cached: int) -> float:
        return price.cost(prompt_tokens=prompt, cached_tokens=cached, tier=tier)

    assert cost(cached + more) <= cost(cached)


@given(
    prices(),
    st.tuples(counts, counts, counts, counts),
    st.tuples(counts, counts),
    st.sampled_from(
        [("standard", tier) for tier in ("standard", "default", "flex", "batch", "priority", "fast", "scale")]
        + [("default", "standard"), ("flex", "flex"), ("flex", "default")]
        + [("priority", "priority"), ("auto", "priority")]
    ),
)
def test_no_way_to_bill_a_request_passes_its_upper_bound(
    price: Price,
    tokens: tuple[int, int, int, int],
    room: tuple[int, int],
    tiers: tuple[str, str],
) -> None:
    prompt, cached, written, completion = tokens
    asked, answered = tiers
    bound = price.upper_bound(
        prompt_tokens=prompt + room[0], completion_tokens=completion + room[1], tier=asked
    )
    assert bound >= price.cost(
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=completion,
        tier=answered,
    )


@pytest.mark.parametrize(
    ("tier", "usd"), [("default", 0.000125 + 0.0005), ("flex", 0.000125 + 0.0005), ("standard", 0.00125)]
)
def test_the_upper_bound_is_the_dearest_way_to_bill_and_no_more(tier: str, usd: float) -> None:
    # 1,000 tokens written to the cache and 1,000 answered; without a named tier the project may pay double.
    assert luna().upper_bound(prompt_tokens=1000, completion_tokens=1000, tier=tier) == pytest.approx(usd)


@given(counts, counts, counts)
def test_cost_is_the_exact_sum_rounded_once(prompt: int, cached: int, completion: int) -> None:
    cached = min(prompt, cached)
    price = chat_price("m", "0.1,0.01,0.5")
    assert price is not None
    exact = (
        Fraction(1, 10) * (prompt - cached) + Fraction(1, 100) * cached + Fraction(1, 2) * completion
    ) / MILLION
    assert price.cost(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion) == float(
        exact
    )


# Tokens


@given(st.text())
def test_tokens_are_never_estimated_below_a_quarter_nor_above_one_a_character(text: str) -> None:
    assert len(text) / 4 <= estimate_tokens(text) <= len(text)


def test_tokens_of_ascii_are_a_quarter_and_of_other_scripts_one_each() -> None:
    assert estimate_tokens("abcde") == 2
    assert estimate_tokens("夜の歌") == 3
    assert estimate_tokens("ñandu") == 2


@settings(deadline=None)  # loading the tokenizer takes a second
@given(st.text())
def test_no_tokenizer_finds_more_tokens_than_bytes(text: str) -> None:
    encoding = pytest.importorskip("bpe_openai", reason="the extra tokens").get_encoding("o200k_base")
    assert len(encoding.encode_ordinary(text)) <= len(text.encode())

"""The simulated provider without HTTP: lengths, tiers, refused parameters, limits and bills."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aboutness_local.control import Control
from aboutness_local.exchange import Exchange
from aboutness_local.provider import SimulatedProvider

SONGS = [{"key": str(number), "title": f"Title {number}, or not", "artist": "Artist"} for number in range(4)]
PRICES = {"chat": {"input": 1.0, "cached": 0.1, "output": 10.0}, "embedding": 0.5}


@pytest.fixture
def provider() -> SimulatedProvider:
    return SimulatedProvider(dimension=8)


def obey(provider: SimulatedProvider, **control: Any) -> None:
    provider.obey(Control.model_validate(control))


def chat(provider: SimulatedProvider, **more: Any) -> Exchange:
    """One finished chat request for four songs; more: parameters of the request."""
    messages = [{"role": "user", "content": json.dumps({"songs": SONGS})}]
    return finish(provider, provider.receive("chat", "Bearer k", body(messages=messages, **more)))


def embeddings(provider: SimulatedProvider, **more: Any) -> Exchange:
    """One finished embedding request for two texts."""
    given = body(input=["a first kiss", "rain"], **more)
    return finish(provider, provider.receive("embeddings", "Bearer k", given))


def body(**request: Any) -> bytes:
    return json.dumps({"model": "m", **request}).encode()


def finish(provider: SimulatedProvider, exchange: Exchange) -> Exchange:
    with provider.billing.working_on(exchange, provider.control.prices):
        return exchange


def content_of(exchange: Exchange) -> str:
    assert isinstance(exchange.body, dict)
    content: str = exchange.body["choices"][0]["message"]["content"]
    return content


def json_of(exchange: Exchange) -> dict[str, Any]:
    assert isinstance(exchange.body, dict)
    return exchange.body


def bills_of(provider: SimulatedProvider) -> list[dict[str, Any]]:
    bills: list[dict[str, Any]] = provider.billing.report()["bills"]
    return bills


@pytest.mark.parametrize("length", [1, 1.5, 3, 10])
def test_a_longer_answer_means_the_same(provider: SimulatedProvider, length: float) -> None:
    honest = chat(provider)
    obey(provider, answer_length=length)
    long = chat(provider)
    assert json.loads(content_of(long)) == json.loads(content_of(honest))
    assert len(content_of(long)) == pytest.approx(length * len(content_of(honest)), rel=0.02)
    tokens = json_of(long)["usage"]["completion_tokens"]
    assert tokens == pytest.approx(length * json_of(honest)["usage"]["completion_tokens"], rel=0.02)


@pytest.mark.parametrize("name", ["max_completion_tokens", "max_tokens"])
def test_an_answer_ends_at_the_limit_of_its_request(provider: SimulatedProvider, name: str) -> None:
    needed = json_of(chat(provider))["usage"]["completion_tokens"]

    whole = chat(provider, **{name: needed})
    assert json_of(whole)["choices"][0]["finish_reason"] == "stop"

    obey(provider, prices=PRICES)
    cut = chat(provider, **{name: needed - 1})
    assert json_of(cut)["choices"][0]["finish_reason"] == "length"
    assert json_of(cut)["usage"]["completion_tokens"] == needed - 1
    assert content_of(whole).startswith(content_of(cut))
    assert bills_of(provider)[-1]["completion_tokens"] == needed - 1


def test_a_long_answer_cannot_pass_the_limit(provider: SimulatedProvider) -> None:
    obey(provider, answer_length=50)
    assert json_of(chat(provider, max_completion_tokens=200))["usage"]["completion_tokens"] == 200


def test_tokens_are_those_of_openai_where_it_is_asked_for(provider: SimulatedProvider) -> None:
    encoding = pytest.importorskip("bpe_openai").get_encoding("o200k_base")

    def count(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    schema = {"type": "json_object", "note": "counts as prompt"}
    obey(provider, tokens="o200k")

    exchange = chat(provider, response_format=schema)

    content = content_of(exchange)
    assert content == json.dumps(json.loads(content), ensure_ascii=False, separators=(",", ":"))
    usage = json_of(exchange)["usage"]
    assert usage["completion_tokens"] == count(content)
    sent = [json.dumps({"songs": SONGS}), json.dumps(schema, separators=(",", ":"))]
    assert usage["prompt_tokens"] == sum(map(count, sent)) + 3 + 3
    cut = chat(provider, max_completion_tokens=10)
    assert count(content_of(cut)) == json_of(cut)["usage"]["completion_tokens"] == 10
    texts = json_of(embeddings(provider))["usage"]["prompt_tokens"]
    assert texts == count("a first kiss") + count("rain")


@pytest.mark.parametrize("limit", [0, -1, "100", 1.5])
def test_a_limit_that_is_not_a_positive_whole_number_is_refused(
    provider: SimulatedProvider, limit: Any
) -> None:
    refused = chat(provider, max_completion_tokens=limit)
    assert (refused.status, json_of(refused)["error"]["param"]) == (400, "max_completion_tokens")


@pytest.mark.parametrize(
    ("asked", "answered"), [(None, "default"), ("auto", "default"), ("default", "default"), ("flex", "flex")]
)
def test_the_answer_names_the_tier_that_served_it(
    provider: SimulatedProvider, asked: str | None, answered: str
) -> None:
    exchange = chat(provider, service_tier=asked) if asked else chat(provider)
    assert json_of(exchange)["service_tier"] == answered
    assert bills_of(provider)[-1]["service_tier"] == answered


@pytest.mark.parametrize("tier", ["cheapest", ["flex"], 1])
def test_an_unknown_tier_is_refused(provider: SimulatedProvider, tier: Any) -> None:
    refused = chat(provider, service_tier=tier)
    assert (refused.status, json_of(refused)["error"]["param"]) == (400, "service_tier")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service_tier", "flex"),
        ("max_completion_tokens", 1000),
        ("max_tokens", 1000),
        ("reasoning_effort", "none"),
    ],
)
def test_a_refused_parameter_is_named_and_costs_nothing(
    provider: SimulatedProvider, name: str, value: Any
) -> None:
    obey(provider, refused_parameters=[name], prices=PRICES)
    error = json_of(chat(provider, **{name: value}))["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert bills_of(provider) == []
    assert chat(provider).status == 200


def test_a_chat_answer_costs_prompt_cached_part_and_completion(provider: SimulatedProvider) -> None:
    obey(provider, prices=PRICES, cached_share=0.5)
    usage = json_of(chat(provider))["usage"]
    prompt, cached = usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached == prompt // 2
    [bill] = bills_of(provider)
    usd = (1.0 * (prompt - cached) + 0.1 * cached + 10.0 * usage["completion_tokens"]) / 1e6
    assert bill["usd"] == pytest.approx(usd)
    assert bill == {
        "route": "chat",
        "model": "m",
        "service_tier": "default",
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "completion_tokens": usage["completion_tokens"],
        "usd": bill["usd"],
    }


def test_flex_costs_half_unless_it_was_served_as_default(provider: SimulatedProvider) -> None:
    obey(provider, prices=PRICES, chat={"script": [None, None, "flex_served_as_default"]})
    for tier in ("default", "flex", "flex"):
        chat(provider, service_tier=tier)
    whole, half, whole_again = (bill["usd"] for bill in bills_of(provider))
    assert half == pytest.approx(whole / 2)
    assert whole_again == whole


def test_totals_are_the_sums_of_the_bills(provider: SimulatedProvider) -> None:
    obey(provider, prices=PRICES)
    for _ in range(3):
        chat(provider)
        embeddings(provider)
    report = provider.billing.report()
    by_route = {
        route: [bill for bill in report["bills"] if bill["route"] == route]
        for route in ("chat", "embeddings")
    }
    for route, bills in by_route.items():
        assert report["totals"][route]["requests"] == len(bills) == 3
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "usd"):
            assert report["totals"][route][name] == pytest.approx(sum(bill[name] for bill in bills))
    assert by_route["embeddings"][0]["usd"] == pytest.approx(0.5 * 4 / 1e6)
    assert report["totals"]["usd"] == pytest.approx(sum(bill["usd"] for bill in report["bills"]))
    assert report["in_progress"] == 0


@pytest.mark.parametrize(
    "name",
    ["hang", "slow_drip", "connection_reset", "reset_mid_body", "html_instead_of_json", "refusal"],
)
def test_what_was_produced_is_billed_however_it_is_delivered(provider: SimulatedProvider, name: str) -> None:
    obey(provider, prices=PRICES, chat={"script": [None, name]})
    chat(provider)
    chat(provider)
    honest, broken = bills_of(provider)
    assert honest["usd"] > 0
    assert broken == honest


@pytest.mark.parametrize(
    "name",
    [
        "usage_missing",
        "usage_zero",
        "usage_negative",
        "usage_absurd",
        "usage_cached_above_prompt",
        "wrong_types_of_body",
    ],
)
def test_the_bill_does_not_believe_the_usage(provider: SimulatedProvider, name: str) -> None:
    obey(provider, prices=PRICES, chat={"script": [None, name]})
    chat(provider)
    chat(provider)
    honest, untrue = bills_of(provider)
    assert untrue == honest


@pytest.mark.parametrize(
    "name",
    [
        "http_429",
        "http_429_retry_after",
        "flex_unavailable",
        "insufficient_quota",
        "http_401",
        "http_400",
        "http_500",
        "http_502",
        "http_503",
    ],
)
def test_what_was_refused_is_not_billed(provider: SimulatedProvider, name: str) -> None:
    obey(provider, prices=PRICES, chat={"script": [name]})
    assert chat(provider, service_tier="flex").status >= 400
    assert provider.billing.report()["totals"]["chat"]["requests"] == 0


def test_what_a_rate_limit_refuses_is_not_billed(provider: SimulatedProvider) -> None:
    obey(provider, prices=PRICES, limits={"requests_per_minute": 1})
    assert [chat(provider).status, chat(provider).status] == [200, 429]
    assert len(bills_of(provider)) == 1


def test_an_answer_is_billed_when_it_is_finished_and_not_before(provider: SimulatedProvider) -> None:
    exchange = provider.receive("embeddings", "Bearer k", body(input="text"))
    with provider.billing.working_on(exchange, provider.control.prices):
        report = provider.billing.report()
        assert (report["in_progress"], report["bills"]) == (1, [])
    report = provider.billing.report()
    assert (report["in_progress"], len(report["bills"])) == (0, 1)


def test_a_reset_forgets_the_bills_and_those_of_requests_in_progress(provider: SimulatedProvider) -> None:
    chat(provider)
    exchange = provider.receive("embeddings", "Bearer k", body(input="text"))
    with provider.billing.working_on(exchange, provider.control.prices):
        provider.reset()
    assert provider.billing.report()["bills"] == []
    assert provider.billing.report()["in_progress"] == 0


def test_other_prices_hold_from_then_on_and_the_bills_stay(provider: SimulatedProvider) -> None:
    for output in (1, 2):
        obey(provider, prices={"chat": {"output": output}})
        chat(provider)
    first, second = (bill["usd"] for bill in bills_of(provider))
    assert second == pytest.approx(2 * first)

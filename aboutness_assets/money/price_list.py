"""The maintained list of prices: genai-prices, which is data in a package and works offline."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aboutness_assets.money.rates import Rates, multiplied

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider

RELEASED = {"0.2.3": "2026-11-10"}
"""When the versions of genai-prices were uploaded, by the package index; the list itself names no date."""

REGIONAL_FACTOR = Decimal("1.1")
"""OpenAI's regional hosts, such as eu.api.openai.com, take 10 % more (its price list, November 2026)."""

_OPENAI = "https://api.openai.com/v1"

# How the list names the service tiers of a request.
_CONTEXTS = {
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
}


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """Rates of each tier that is known, ``standard`` always among them, and where they are known from."""

    source: str
    rates: Mapping[str, tuple[Rates, ...]]
    prices_output: bool = True


def listed_price(
    model: str, base_url: str | None = None, *, at: datetime | None = None
) -> ListedPrice | None:
    """The list's price of a model or of its dated snapshot; None for one that the list lacks.

    base_url: of the endpoint; None: OpenAI's. Where it belongs to a provider of the list, only that
    provider's price counts. At any other (a gateway, a host of one's own) it is OpenAI's price for a model of
    that name, else that of the provider whose models have such names. at: the moment whose price is wanted;
    None: now (a few models change their price with the hour of the day).
    """
    # Imported here: it takes 0.3 s, which only a process that asks for a price should spend.
    from genai_prices.data_snapshot import get_snapshot

    host = urlsplit(base_url or _OPENAI).hostname or ""
    is_regional = host.endswith(".api.openai.com")
    found = _find(get_snapshot(), model, _OPENAI if is_regional else base_url or _OPENAI)
    if found is None:
        return None
    provider, info = found
    at = at or datetime.now(UTC)
    standard = info.get_prices(at)
    if standard.input_mtok is None:
        return None
    rates = {"standard": _rates(standard)}
    # The variants of another provider, to which the list may have fallen back, are not this one's.
    variants = (info.price_variants or []) if any(info is own for own in provider.models) else []
    for tier, context in _CONTEXTS.items():
        if any(
            variant.when == context and (variant.constraint is None or variant.constraint.active(at))
            for variant in variants
        ):
            rates[tier] = _rates(info.get_prices(at, context))
    if is_regional:
        rates = {tier: multiplied(each, REGIONAL_FACTOR) for tier, each in rates.items()}
    return ListedPrice(_source(provider, is_regional), rates, standard.output_mtok is not None)


def _find(snapshot: "DataSnapshot", model: str, url: str) -> "tuple[Provider, ModelInfo] | None":
    """The provider and the model, by the rule that listed_price states."""
    ways: list[tuple[str | None, str | None]] = [(None, url)]
    try:
        snapshot.find_provider(None, None, url)
    except LookupError:
        ways = [("openai", None), (None, None)]
    for provider_id, provider_url in ways:
        try:
            return snapshot.find_provider_model(model, None, provider_id, provider_url)
        except LookupError:
            continue
    return None


def _rates(price: "ModelPrice") -> tuple[Rates, ...]:
    """The rates from each threshold of long context on, ascending."""
    from genai_prices.types import TieredPrices

    def rate(value: Decimal | TieredPrices | None, above: int) -> Decimal | None:
        if not isinstance(value, TieredPrices):
            return value
        return next((tier.price for tier in reversed(value.tiers) if tier.start <= above), value.base)

    prices = (price.input_mtok, price.cache_read_mtok, price.cache_write_mtok, price.output_mtok)
    starts = {tier.start for each in prices if isinstance(each, TieredPrices) for tier in each.tiers}
    found = []
    for above in sorted({0, *starts}):
        prompt, cached, cache_write, completion = (rate(each, above) for each in prices)
        prompt = prompt or Decimal(0)
        found.append(
            Rates(
                prompt=prompt,
                # Without a price of their own, cached and written tokens are prompt tokens like others.
                cached=prompt if cached is None else cached,
                cache_write=prompt if cache_write is None else cache_write,
                completion=completion or Decimal(0),
                above=above,
            )
        )
    return tuple(found)


def _source(provider: "Provider", is_regional: bool) -> str:
    installed = version("genai-prices")
    released = RELEASED.get(installed)
    of = f"{provider.name}, regional" if is_regional else provider.name
    return f"genai-prices {installed} ({of}{f', {released}' if released else ''})"

"""What a model charges for tokens, where that is known from, and what a request cost or can cost at most.

Prices come from a setting (ABOUTNESS_CHAT_PRICE, ABOUTNESS_EMBEDDING_PRICE), else from price_list. Arithmetic
is exact (Decimal) and rounded once, to the nearest float: no upper bound falls below a cost by rounding.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.money.price_list import ListedPrice, listed_price
from aboutness_assets.money.rates import TIER_FACTORS, Rates, multiplied

CHAT_PRICE, EMBEDDING_PRICE = "ABOUTNESS_CHAT_PRICE", "ABOUTNESS_EMBEDDING_PRICE"

MAX_DOLLARS_PER_MILLION = 10_000
"""More than ten times what the dearest model takes: a setting above it is a typing error."""

CACHE_WRITE_FACTOR = Decimal("1.25")
"""A token written to the cache against one that is not: what OpenAI takes from GPT-5.6 on."""

# What an API calls the tiers that have another name here.
_TIER_NAMES = {"default": "standard", "fast": "priority"}

_SETTING = re.compile(r"(?P<numbers>[^()]*?)\s*(?:\((?P<note>[^()]+)\))?", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Price:
    """What one model charges, in every tier that is known.

    source: where the price is known from and of when, for metadata and logs. rates: of each tier, ascending
    by ``Rates.above``. assumed_tiers: those whose rates nobody published; they follow OpenAI's rule instead.
    """

    model: str
    source: str
    rates: Mapping[str, tuple[Rates, ...]]
    assumed_tiers: frozenset[str] = frozenset()

    @property
    def is_pretend(self) -> bool:
        """Whether nobody pays this price; its source says so too."""
        return self.source.lower().startswith("pretend")

    def cost(
        self,
        *,
        prompt_tokens: int,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        completion_tokens: int = 0,
        tier: str = "standard",
    ) -> float:
        """US dollars for one request, never below 0.

        cached_tokens and cache_write_tokens are parts of prompt_tokens; impossible counts are brought to the
        nearest possible ones. A tier without a known price costs what the dearest known one does;
        ``tier_note`` says so.
        """
        prompt = max(0, prompt_tokens)
        cached = min(max(0, cached_tokens), prompt)
        written = min(max(0, cache_write_tokens), prompt - cached)
        rates = self.rates_of(tier, prompt)
        return float(
            (
                (prompt - cached - written) * rates.prompt
                + cached * rates.cached
                + written * rates.cache_write
                + max(0, completion_tokens) * rates.completion
            )
            / 1_000_000
        )

    def upper_bound(self, *, prompt_tokens: int, completion_tokens: int = 0, tier: str = "standard") -> float:
        """US dollars that one request of at most so many tokens can cost, however it is billed.

        tier: as requested. ``standard`` and ``priority`` may be answered in either of the two or below, since
        a request that names no tier follows the project's setting, which may be priority at double price;
        ``default`` and ``flex`` are at most the standard price. Any other: the dearest known tier.
        """
        may_be = ("flex", "standard") if tier in ("default", "flex") else tuple(self.rates)
        dearest = Decimal(0)
        for name in may_be:
            for rates in self.rates.get(name, ()):
                if rates.above == 0 or prompt_tokens > rates.above:
                    per_prompt_token = max(rates.prompt, rates.cached, rates.cache_write)
                    usd = prompt_tokens * per_prompt_token + completion_tokens * rates.completion
                    dearest = max(dearest, usd)
        return float(dearest / 1_000_000)

    def rates_of(self, tier: str, prompt_tokens: int = 0) -> Rates:
        """Rates of a tier for a request of so many prompt tokens; of an unknown tier, the dearest known."""
        known = self.rates.get(_TIER_NAMES.get(tier, tier))
        if known is None:
            known = max(self.rates.values(), key=lambda rates: (rates[0].prompt, rates[0].completion))
        return [rates for rates in known if rates.above == 0 or prompt_tokens > rates.above][-1]

    def tier_note(self, tier: str) -> str | None:
        """A sentence on a tier whose price is assumed or unknown; None where it is known."""
        name = _TIER_NAMES.get(tier, tier)
        if name not in self.rates:
            return (
                f"The price of {self.model} in service tier {tier!r} is not known: "
                "the dearest known tier is counted."
            )
        if name in self.assumed_tiers:
            return (
                f"The price of {self.model} in service tier {tier!r} is assumed: {TIER_FACTORS[name]} times "
                f"the standard price ({self.source})."
            )
        return None


def chat_price(model: str, setting: str | None, *, base_url: str | None = None) -> Price | None:
    """The price of a chat model: the setting's, else the price list's of today, else None.

    setting: ``input,cached,output`` in dollars per million tokens. A note in parentheses may follow, as in
    ``0.10,0.01,0.50 (our contract of May 2026)``; it becomes the source. A setting names no price of cache
    writes: 1.25 times the input is assumed. base_url: of the endpoint, None: OpenAI's; the same model may
    cost something else elsewhere. Raises SettingsError, which names the setting.
    """
    if not setting:
        return _priced(model, listed_price(model, base_url), TIER_FACTORS, needs_completion=True)
    (prompt, cached, completion), source = _parsed(setting, CHAT_PRICE, ("input", "cached", "output"))
    if cached > prompt:
        raise SettingsError(
            f"{CHAT_PRICE}: cached input ({cached}) cannot cost more than input ({prompt}); "
            "the order is input,cached,output."
        )
    standard = Rates(prompt, cached, prompt * CACHE_WRITE_FACTOR, completion)
    return _priced(model, ListedPrice(source, {"standard": (standard,)}), TIER_FACTORS)


def embedding_price(model: str, setting: str | None, *, base_url: str | None = None) -> Price | None:
    """The price of an embedding model: the setting's, else the price list's of today, else None.

    setting: dollars per million tokens, and perhaps a note, as in ``chat_price``. Raises SettingsError, which
    names the setting. Embeddings have one tier beside batch, whatever a request asks for.
    """
    tiers = {"batch": TIER_FACTORS["batch"]}
    if not setting:
        return _priced(model, listed_price(model, base_url), tiers)
    (prompt,), source = _parsed(setting, EMBEDDING_PRICE, ("input",))
    return _priced(
        model, ListedPrice(source, {"standard": (Rates(prompt, prompt, prompt, Decimal(0)),)}), tiers
    )


def _priced(
    model: str, listed: ListedPrice | None, factors: Mapping[str, Decimal], *, needs_completion: bool = False
) -> Price | None:
    """The listed price, with what is not published of the tiers filled in by their factors."""
    if listed is None or (needs_completion and not listed.prices_output):
        return None
    assumed = {
        tier: multiplied(listed.rates["standard"], factor)
        for tier, factor in factors.items()
        if tier not in listed.rates
    }
    return Price(model, listed.source, {**listed.rates, **assumed}, frozenset(assumed))


def _parsed(setting: str, name: str, parts: tuple[str, ...]) -> tuple[list[Decimal], str]:
    """The numbers of a price setting, and the source that it names. Raises SettingsError."""
    form = ",".join(parts)
    split = _SETTING.fullmatch(setting.strip())
    given = [part.strip() for part in split["numbers"].split(",")] if split else []
    note = ((split["note"] if split else None) or "").strip()
    if len(given) != len(parts) or not all(map(_NUMBER.fullmatch, given)) or not note.isprintable():
        raise SettingsError(
            f"{name}: must be {form} in dollars per million tokens, as in "
            f"{'0.10,0.01,0.50' if len(parts) > 1 else '0.02'}."
        )
    numbers = [Decimal(part) for part in given]
    if max(numbers) > MAX_DOLLARS_PER_MILLION:
        raise SettingsError(
            f"{name}: {max(numbers)} dollars per million tokens is more than {MAX_DOLLARS_PER_MILLION}; "
            f"write {form} in dollars per million tokens."
        )
    return numbers, note or name

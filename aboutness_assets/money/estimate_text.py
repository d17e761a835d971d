"""An estimate in words: one line per figure, each with its band."""

from aboutness_assets.money.estimate import Estimate
from aboutness_assets.money.figures import Figure
from aboutness_assets.money.prices import CHAT_PRICE, EMBEDDING_PRICE
from aboutness_assets.money.tariff import Tariff


def estimate_lines(estimate: Estimate, tariff: Tariff, counted_by: str) -> list[tuple[str, str]]:
    """(name, value) of every figure but the songs left. counted_by: what counted the tokens of names."""
    return [
        ("chat requests", _count(estimate.chat_requests)),
        ("embedding requests", _count(estimate.embedding_requests)),
        ("tokens in", _count(estimate.prompt_tokens)),
        ("tokens out", _count(estimate.completion_tokens)),
        ("tokens embedded", _count(estimate.embedding_tokens)),
        ("dollars, standard", _dollars(estimate.usd_standard, "standard", tariff)),
        ("dollars, flex", _dollars(estimate.usd_flex, "flex", tariff)),
        ("time", _time(estimate.minutes)),
        ("estimated from", estimate_basis(estimate, counted_by)),
    ]


def _count(figure: Figure) -> str:
    return f"{figure.expected:,.0f} ({figure.low:,.0f} to {figure.high:,.0f})"


def _dollars(figure: Figure | None, tier: str, tariff: Tariff) -> str:
    if figure is None or tariff.chat is None or tariff.embedding is None:
        lacking = [
            name
            for name, price in (
                (CHAT_PRICE, tariff.chat),
                (EMBEDDING_PRICE, tariff.embedding),
            )
            if price is None
        ]
        return f"unknown: set {' and '.join(lacking)}"
    notes = []
    if tariff.chat.is_pretend or tariff.embedding.is_pretend:
        notes.append("at a pretend price")
    if tier in tariff.chat.assumed_tiers:
        notes.append("its price is assumed")
    return "; ".join([f"{figure.expected:.4f} ({figure.low:.4f} to {figure.high:.4f})", *notes])


def _time(minutes: Figure | None) -> str:
    if minutes is None:
        return (
            "unknown: no rate limit is known; a smoke run may learn it, or set ABOUTNESS_REQUESTS_PER_MINUTE"
        )
    low, expected, high = (duration(each) for each in (minutes.low, minutes.expected, minutes.high))
    return f"{expected} ({low} to {high}) in the standard tier at the rate limits known"


def duration(minutes: float) -> str:
    """Minutes for a person: as seconds, minutes or hours."""
    if minutes < 2:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def estimate_basis(estimate: Estimate, counted_by: str) -> str:
    """What an estimate rests on. counted_by: what counted the tokens of names."""
    if estimate.billed_requests:
        return f"what {estimate.billed_requests} requests with this prompt and model were billed"
    return f"the words of the requests (tokens counted by {counted_by}); a smoke run makes it precise"

"""The table of a preflight: what a backfill needs, whether it is there, and what the backfill will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aboutness_assets.acceptance.tables import plain_table, yes_or_no
from aboutness_assets.database.operations.ledger import budget_spending
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.money.estimate_text import estimate_lines
from aboutness_assets.money.ledger import Spending
from aboutness_assets.money.prices import CHAT_PRICE, EMBEDDING_PRICE, Price
from aboutness_assets.money.token_counts import token_counter
from aboutness_assets.pipeline.estimating import estimate_backfill
from aboutness_assets.pipeline.session import Session
from aboutness_assets.pipeline.terms import Terms


@dataclass(frozen=True, slots=True)
class PreflightLine:
    """One line of the table; passed: None for what is no check but a figure."""

    name: str
    found: str
    passed: bool | None = True


def preflight_table(lines: Sequence[PreflightLine]) -> str:
    """The table as plain text for a log."""
    return plain_table(
        ("check", "found", "pass"),
        [(line.name, line.found, "-" if line.passed is None else yes_or_no(line.passed)) for line in lines],
    )


def table_found(table: AboutnessTable) -> str:
    """What song_aboutness is, where it is as agreed."""
    dimension = "any number of" if table.dimension is None else str(table.dimension)
    return (
        f"as agreed; {table.id_type} ids, {table.vector_kind} of {dimension} numbers; "
        "the role may read and insert"
    )


def price_lines(terms: Terms) -> list[PreflightLine]:
    """Whether both prices are known; an unknown one fails only where there is a cap, as a run then stops."""
    tariff, is_capped = terms.tariff, terms.max_usd is not None
    return [
        _price_line(f"price of {terms.chat_model}", tariff.chat, CHAT_PRICE, is_capped),
        _price_line(f"price of {terms.embedding_model}", tariff.embedding, EMBEDDING_PRICE, is_capped),
    ]


def _price_line(name: str, price: Price | None, setting: str, is_capped: bool) -> PreflightLine:
    if price is None:
        consequence = "ABOUTNESS_MAX_USD cannot be kept without it" if is_capped else "costs are not counted"
        return PreflightLine(name, f"unknown: set {setting}; {consequence}", not is_capped)
    rates = price.rates_of("standard")
    parts = [f"{rates.prompt} in"]
    if rates.completion:
        parts += [f"{rates.cached} cached", f"{rates.completion} out"]
    return PreflightLine(name, f"dollars per million tokens: {', '.join(parts)}; {price.source}")


def budget_line(terms: Terms, spending: Spending) -> PreflightLine:
    """What the budget has spent of its cap; fails where nothing is left."""
    found = (
        f"{spending.billed_usd:.4f} dollars spent, {spending.uncertain_usd:.4f} uncertain, "
        f"{spending.reserved_usd:.4f} reserved"
    )
    name = f"budget {terms.budget!r}"
    if terms.max_usd is None:
        return PreflightLine(name, f"{found}; no cap (ABOUTNESS_MAX_USD)")
    return PreflightLine(
        name,
        f"{found} of ABOUTNESS_MAX_USD = {terms.max_usd:g}",
        spending.committed_usd < terms.max_usd,
    )


async def backfill_lines(session: Session, terms: Terms) -> list[PreflightLine]:
    """The budget, the songs left, and what it takes to write them."""
    counter = token_counter()
    spending = await budget_spending(session.operations, session.table.table_id, terms.budget)
    found = await estimate_backfill(session, terms, counter)
    return [
        budget_line(terms, spending),
        PreflightLine("songs left", f"{found.songs:,} without a row, counted"),
        *(
            PreflightLine(f"estimate: {name}", value, None)
            for name, value in estimate_lines(found, terms.tariff, counter.source)
        ),
    ]

"""The table of a preflight: what a backfill needs, whether it is there, and what the backfill will take."""

from __future__ import annotations

from collections.abc import Sequence

from aboutness_assets.acceptance.tables import plain_table, yes_or_no
from aboutness_assets.database.operations.ledger import budget_spending
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.vectors import VectorKind
from aboutness_assets.domain.findings import Finding, Outcome
from aboutness_assets.money.estimate_text import estimate_lines
from aboutness_assets.money.ledger import Spending
from aboutness_assets.money.prices import CHAT_PRICE, EMBEDDING_PRICE, Price
from aboutness_assets.money.token_counts import token_counter
from aboutness_assets.pipeline.estimating import estimate_backfill
from aboutness_assets.pipeline.session import Session
from aboutness_assets.pipeline.terms import Terms

_PASS: dict[Outcome, str] = {"pass": yes_or_no(True), "warn": "warn", "fail": yes_or_no(False), "info": "-"}

_NUMBER_BYTES: dict[VectorKind, int] = {"vector": 4, "halfvec": 2, "real[]": 4, "double precision[]": 8}
_OVERHEAD = 1.3
"""Bytes on disk per byte of vector: a row of two vector(1536) takes about 16 KB, indexes left out."""


def findings_table(findings: Sequence[Finding]) -> str:
    """The table as plain text for a log."""
    return plain_table(
        ("check", "found", "pass", "what to do"),
        [(finding.check, finding.found, _PASS[finding.outcome], finding.what_to_do) for finding in findings],
    )


def table_found(table: AboutnessTable) -> str:
    """What song_aboutness is, where it is as agreed."""
    dimension = "any number of" if table.dimension is None else str(table.dimension)
    return (
        f"as agreed; {table.id_type} ids, {table.vector_kind} of {dimension} numbers; the role may read and "
        "insert"
    )


def price_lines(terms: Terms) -> list[Finding]:
    """Whether both prices are known; an unknown one fails only where there is a cap, as a run then stops."""
    tariff, is_capped = terms.tariff, terms.max_usd is not None
    return [
        _price_line(f"price of {terms.chat_model}", tariff.chat, CHAT_PRICE, is_capped),
        _price_line(f"price of {terms.embedding_model}", tariff.embedding, EMBEDDING_PRICE, is_capped),
    ]


def _price_line(name: str, price: Price | None, setting: str, is_capped: bool) -> Finding:
    if price is None:
        consequence = "ABOUTNESS_MAX_USD cannot be kept without it" if is_capped else "costs are not counted"
        return Finding(
            name,
            f"unknown: {consequence}",
            "fail" if is_capped else "warn",
            f"Set {setting}.",
        )
    rates = price.rates_of("standard")
    parts = [f"{rates.prompt} in"]
    if rates.completion:
        parts += [f"{rates.cached} cached", f"{rates.completion} out"]
    return Finding(name, f"dollars per million tokens: {', '.join(parts)}; {price.source}")


def budget_line(terms: Terms, spending: Spending) -> Finding:
    """What the budget has spent of its cap; fails where nothing is left."""
    found = (
        f"{spending.billed_usd:.4f} dollars spent, {spending.uncertain_usd:.4f} uncertain, "
        f"{spending.reserved_usd:.4f} reserved"
    )
    name = f"budget {terms.budget!r}"
    if terms.max_usd is None:
        return Finding(name, f"{found}; no cap (ABOUTNESS_MAX_USD)")
    if spending.committed_usd < terms.max_usd:
        return Finding(name, f"{found} of ABOUTNESS_MAX_USD = {terms.max_usd:g}")
    return Finding(
        name,
        f"{found} of ABOUTNESS_MAX_USD = {terms.max_usd:g}",
        "fail",
        "Raise ABOUTNESS_MAX_USD, or name another budget (ABOUTNESS_BUDGET).",
    )


def _disk_line(table: AboutnessTable, songs: int) -> Finding:
    if table.dimension is None:
        return Finding("disk", "unknown: nothing says yet how many numbers a vector has", "info")
    row_bytes = 2 * table.dimension * _NUMBER_BYTES[table.vector_kind] * _OVERHEAD + 300
    found = f"about {songs * row_bytes / 1e6:,.1f} MB for these rows ({row_bytes:,.0f} bytes each)"
    return Finding("disk", f"{found}, indexes not counted; how much is free SQL cannot see", "info")


async def backfill_lines(session: Session, terms: Terms) -> list[Finding]:
    """The budget, the songs left, and what it takes to write them."""
    return (await estimated_backfill(session, terms))[1]


async def estimated_backfill(session: Session, terms: Terms) -> tuple[int, list[Finding]]:
    """How many songs are left, counted, and the lines on them."""
    counter = token_counter()
    spending = await budget_spending(session.operations, session.table.table_id, terms.budget)
    found = await estimate_backfill(session, terms, counter)
    return found.songs, [
        budget_line(terms, spending),
        Finding("songs left", f"{found.songs:,} without a row, counted"),
        _disk_line(session.table, found.songs),
        *(
            Finding(f"estimate: {name}", value, "info")
            for name, value in estimate_lines(found, terms.tariff, counter.source)
        ),
    ]

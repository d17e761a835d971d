"""A ledger in memory, for unit tests; the conformance suite runs over it and the one in Postgres alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.money.ledger import Charge, Outcome, Spending, Totals


@dataclass
class Entry:
    """One request."""

    run: RangeRun
    charge: Charge
    outcome: Outcome | None = None
    is_reported: bool = False

    @property
    def max_usd(self) -> float:
        """What it can cost at most; 0 where the price is unknown."""
        return self.charge.max_usd or 0.0


@dataclass
class MemoryBooks:
    """What the ledgers of several runs share."""

    entries: dict[int, Entry] = field(default_factory=dict)
    promises: dict[int, float] = field(default_factory=dict)
    ids: count[int] = field(default_factory=lambda: count(1))

    def spending(self, run: RangeRun) -> Spending:
        """The sums of the run's budget."""
        billed = uncertain = 0.0
        reserved = sum(self.promises.values())
        for entry in self.entries.values():
            if (entry.run.table_id, entry.run.budget) != (run.table_id, run.budget):
                continue
            if entry.outcome is None:
                reserved += entry.max_usd
            elif entry.outcome.state == "billed":
                billed += entry.outcome.usd or 0.0
            elif entry.outcome.state == "uncertain":
                uncertain += entry.max_usd
        return Spending(billed, uncertain, reserved)


class MemoryLedger:
    """The ledger of one run over one range (money.ledger.Ledger)."""

    def __init__(self, books: MemoryBooks, run: RangeRun, max_usd: float | None = None) -> None:
        self._books = books
        self._run = run
        self._max_usd = max_usd

    async def open(
        self, charge: Charge, *, request_id: int | None, releases: Sequence[int] = ()
    ) -> int | None:
        """See money.ledger.Ledger."""
        for released in releases:
            self._books.promises.pop(released, None)
        committed = self._books.spending(self._run).committed_usd
        if self._max_usd is not None and committed + (charge.max_usd or 0.0) > self._max_usd:
            return None
        attempt_id = next(self._books.ids)
        self._books.entries[attempt_id] = Entry(self._run, charge)
        return attempt_id

    async def close(self, attempt_id: int, outcome: Outcome) -> Spending:
        """See money.ledger.Ledger."""
        entry = self._books.entries[attempt_id]
        entry.outcome = entry.outcome or outcome
        return self._books.spending(self._run)

    async def report(self) -> Totals:
        """See money.ledger.Ledger."""
        counted = [
            entry
            for entry in self._books.entries.values()
            if entry.outcome is not None
            and not entry.is_reported
            and (entry.run.table_id, entry.run.range_key) == (self._run.table_id, self._run.range_key)
        ]
        for entry in counted:
            entry.is_reported = True
        return _totals(counted)


def _totals(counted: Sequence[Entry]) -> Totals:
    billed = [entry for entry in counted if entry.outcome is not None and entry.outcome.state == "billed"]
    uncertain = [
        entry for entry in counted if entry.outcome is not None and entry.outcome.state == "uncertain"
    ]

    def tokens(kind: str, name: str) -> int:
        return sum(
            getattr(entry.outcome.usage, name)
            for entry in billed
            if entry.charge.kind == kind and entry.outcome is not None and entry.outcome.usage is not None
        )

    dollars = [entry.outcome.usd for entry in billed if entry.outcome is not None]
    return Totals(
        embedding_requests=sum(entry.charge.kind == "embedding" for entry in billed),
        prompt_tokens=tokens("chat", "prompt_tokens"),
        cached_tokens=tokens("chat", "cached_tokens"),
        completion_tokens=tokens("chat", "completion_tokens"),
        embedding_tokens=tokens("embedding", "prompt_tokens"),
        usd=None if None in dollars else sum(usd or 0.0 for usd in dollars),
        uncertain_requests=len(uncertain),
        uncertain_usd=sum(entry.max_usd for entry in uncertain),
    )

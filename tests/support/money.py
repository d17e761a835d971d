"""What the metering stand-in bills against what the ledger says, at every commit and at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from aboutness_assets.database.operations.connection import open_operations
from aboutness_assets.pipeline.report import Report
from tests.support.backfills import Backfills, wait_until

CHAT_PRICES = {"input": 0.10, "cached": 0.01, "output": 0.50}
EMBEDDING_PRICE = 0.02
"""Dollars per million tokens, of the stand-in's bills and of the runs' settings alike."""

PRICES = {
    "chat_price": "0.10,0.01,0.50 (pretend price of the tests)",
    "embedding_price": "0.02 (pretend price of the tests)",
}

ROUNDING_USD = 1e-9
"""Bills and ledger add up floats and decimals; a token costs ten times as much and more."""

# At its commit every change of a budget is compared with all attempts: of other transactions only those are
# to be seen that had the budget's row before. Deferred, as a transaction changes the two one after the other.
_WATCH_BUDGETS = """
create table aboutness_ops.budget_watch (budget text, committed_usd numeric, agrees boolean);
create function aboutness_ops.watch_budget() returns trigger language plpgsql as $$
begin
  insert into aboutness_ops.budget_watch
  select b.budget, b.billed_usd + b.uncertain_usd + b.reserved_usd,
         (b.billed_usd, b.uncertain_usd, b.reserved_usd) = (
           select coalesce(sum(usd), 0), coalesce(sum(max_usd) filter (where state = 'uncertain'), 0),
                  coalesce(sum(max_usd) filter (where state = 'in_flight'), 0)
                  + (select coalesce(sum(promised_usd), 0) from aboutness_ops.chat_request r
                     where r.table_id = b.table_id and r.budget = b.budget)
           from aboutness_ops.spending s where s.table_id = b.table_id and s.budget = b.budget)
  from aboutness_ops.budget b where b.table_id = new.table_id and b.budget = new.budget;
  return null;
end $$;
create constraint trigger watch_budget after insert or update on aboutness_ops.budget
  deferrable initially deferred for each row execute function aboutness_ops.watch_budget();
"""


def metered(**control: Any) -> dict[str, Any]:
    """A control document with the prices that the runs know."""
    return {"prices": {"chat": CHAT_PRICES, "embedding": EMBEDDING_PRICE}, **control}


@dataclass(frozen=True)
class Balance:
    """The bill and the ledger, in dollars; most_committed_usd: the highest sum that a cap ever counted."""

    billed_usd: float
    spent_usd: float
    uncertain_usd: float
    most_committed_usd: float
    chat_requests: int
    embedding_requests: int


@dataclass
class Books:
    """The money of one service; finished runs are entered by range."""

    backfills: Backfills
    reports: dict[str, list[float | None]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    async def open(cls, backfills: Backfills) -> Books:
        """Lay our schema and watch every commit to a budget."""
        async with open_operations(backfills.service.ops_url):
            pass
        backfills.arrange_own(_WATCH_BUDGETS)
        return cls(backfills)

    async def fill(self, **overrides: Any) -> Report:
        """One run over the range of the backfills, entered if it finishes."""
        report = await self.backfills.fill(**overrides)
        self.enter(self.backfills.range_key, report.cost_usd)
        return report

    def enter(self, range_key: str, cost_usd: float | None) -> None:
        """Enter what a finished run reported."""
        self.reports[range_key].append(cost_usd)

    def bill(self) -> float:
        """Dollars billed once nothing is being worked on any more."""
        wait_until(lambda: self.backfills.stand_in.billing()["in_progress"] == 0)
        return float(self.backfills.stand_in.billing()["totals"]["usd"])

    def hold(self, *, cap: float | None = None, complete: Iterable[str] = ()) -> Balance:
        """Hold the bill, the ledger and the reports against each other, while no run is at work.

        complete: ranges without a failed run after their last report.
        """
        billed = self.bill()
        totals = self.backfills.stand_in.billing()["totals"]
        [(spent, uncertain)] = self._look(
            "select coalesce(sum(usd), 0)::float8,"
            " coalesce(sum(max_usd) filter (where state = 'uncertain'), 0)::float8"
            " from aboutness_ops.spending"
        )
        [(agreed, most_committed)] = self._look(
            "select bool_and(agrees), max(committed_usd)::float8 from aboutness_ops.budget_watch"
        )
        assert billed <= spent + uncertain + ROUNDING_USD, "more was billed than the ledger knows of"
        assert spent <= billed + ROUNDING_USD, "the ledger says spent what was not billed"
        assert agreed, "a budget's sums were not those over its attempts"
        if cap is not None:
            assert billed <= cap
            assert most_committed <= cap
        for range_key in complete:
            assert abs(self._reported(range_key) - self._spent_on(range_key)) < ROUNDING_USD
        return Balance(
            billed,
            spent,
            uncertain,
            most_committed,
            int(totals["chat"]["requests"]),
            int(totals["embeddings"]["requests"]),
        )

    def unused_answers(self) -> int:
        """Answers that are paid for and not used."""
        [(answers,)] = self._look(
            "select count(*) from aboutness_ops.chat_request"
            " where answered_at is not null and outcome is distinct from 'used'"
        )
        return int(answers)

    def states(self, kind: str = "chat") -> dict[str, int]:
        """How many attempts of a kind are in each state."""
        return dict(
            self._look(
                "select state, count(*) from aboutness_ops.spending where kind = %s group by 1", [kind]
            )
        )

    def _reported(self, range_key: str) -> float:
        assert None not in self.reports[range_key]
        return sum(cost for cost in self.reports[range_key] if cost is not None)

    def _spent_on(self, range_key: str) -> float:
        [(usd,)] = self._look(
            "select coalesce(sum(usd), 0)::float8 from aboutness_ops.spending where range_key = %s",
            [range_key],
        )
        return float(usd)

    def _look(self, query: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.backfills.service.ops_url) as connection:
            return connection.execute(query.encode(), list(parameters)).fetchall()

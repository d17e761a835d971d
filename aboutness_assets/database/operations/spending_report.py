"""What the ledger tells a report: sums over every request of a table, and what each run has spent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import class_row

from aboutness_assets.database.operations.connection import Operations


@dataclass(frozen=True, slots=True)
class SpendingLine:
    """All requests of one kind and state. usd: billed dollars; max_usd: what all of them can cost at most.

    unpriced: billed requests whose price is unknown, which no sum contains.
    """

    kind: str
    state: str
    requests: int
    usd: float
    max_usd: float
    unpriced: int


@dataclass(frozen=True, slots=True)
class RunSpending:
    """One run in the ledger: when its first request was sent and its last one closed, and what was billed."""

    run_id: str
    began: datetime
    ended: datetime
    chat_requests: int
    usd: float


async def spending_lines(operations: Operations, table_id: str) -> list[SpendingLine]:
    """Sums over the view aboutness_ops.spending, over all budgets."""

    async def select(connection: AsyncConnection) -> list[SpendingLine]:
        cursor = connection.cursor(row_factory=class_row(SpendingLine))
        await cursor.execute(
            "select kind, state, count(*) as requests, coalesce(sum(usd), 0)::float8 as usd,"
            " coalesce(sum(max_usd), 0)::float8 as max_usd,"
            " count(*) filter (where state = 'billed' and usd is null) as unpriced"
            " from aboutness_ops.spending where table_id = %s group by kind, state order by kind, state",
            [table_id],
        )
        return await cursor.fetchall()

    return await operations.query(select)


async def latest_runs(operations: Operations, table_id: str, limit: int) -> list[RunSpending]:
    """The runs whose requests were closed last, at most ``limit``, the latest first."""

    async def select(connection: AsyncConnection) -> list[RunSpending]:
        cursor = connection.cursor(row_factory=class_row(RunSpending))
        await cursor.execute(
            "select run_id, min(sent_at) as began, max(coalesce(closed_at, sent_at)) as ended,"
            " count(*) filter (where kind = 'chat' and state = 'billed') as chat_requests,"
            " coalesce(sum(usd), 0)::float8 as usd"
            " from aboutness_ops.attempt where table_id = %s"
            " group by run_id order by ended desc, run_id limit %s",
            [table_id, limit],
        )
        return await cursor.fetchall()

    return await operations.query(select)

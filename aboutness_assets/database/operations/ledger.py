"""The ledger in our own Postgres: every HTTP request that may cost money, and the sums of each budget.

The arithmetic is that of the functions in migrations/0005_ledger.sql, under the lock of the budget's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.money.ledger import NOTHING_SPENT, Charge, Outcome, Spending, Totals


class PostgresLedger:
    """The ledger of one run over one range. max_usd: the cap of its budget, None where there is none."""

    def __init__(
        self, operations: Operations, run: RangeRun, attempt_ids: IdBlocks, max_usd: float | None
    ) -> None:
        self.attempt_ids = attempt_ids
        self.max_usd = max_usd
        self._operations = operations
        self._run = run

    async def open(
        self, charge: Charge, *, request_id: int | None, releases: Sequence[int] = ()
    ) -> int | None:
        """See ``money.ledger.Ledger``. Raises FatalError when it cannot be entered: do not send it then."""
        attempt_id = await self.attempt_ids.draw()
        parameters = [attempt_id, request_id, *self.common_parameters(charge)]

        async def enter(connection: AsyncConnection) -> bool:
            if releases:
                await connection.execute("select aboutness_ops.release_promises(%s)", [list(releases)])
            cursor = await connection.execute(
                "select aboutness_ops.open_attempt("
                "%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::numeric, 0, %s::numeric)",
                parameters,
            )
            row = await cursor.fetchone()
            return row is not None and bool(row[0])

        return attempt_id if await self._operations.write(enter) else None

    async def close(self, attempt_id: int, outcome: Outcome) -> Spending:
        """See ``money.ledger.Ledger``. Goes on when its caller is cancelled."""

        async def record(connection: AsyncConnection) -> Spending:
            cursor = connection.cursor(row_factory=class_row(Spending))
            await cursor.execute(
                "select billed_usd::float8, uncertain_usd::float8, reserved_usd::float8"
                " from aboutness_ops.close_attempt(%s, %s, %s, %s, %s, %s, %s, %s::numeric)",
                closing_parameters(attempt_id, outcome),
            )
            spending = await cursor.fetchone()
            assert spending is not None
            return spending

        return await self._operations.write(record)

    async def report(self) -> Totals:
        """Sums over every attempt on this range that no materialization has counted so far, and count them.

        So the sum over all materializations is what all runs, failed ones too, have spent on the range.
        """

        async def count(connection: AsyncConnection) -> Totals:
            cursor = connection.cursor(row_factory=class_row(Totals))
            await cursor.execute(
                # This run's own are counted again where the first try's commit went unheard.
                "with counted as (update aboutness_ops.attempt set reported_by = %(run_id)s"
                "  where table_id = %(table_id)s and range_key = %(range_key)s and state <> 'in_flight'"
                "  and (reported_by is null or reported_by = %(run_id)s) returning *)"
                " select"
                " count(*) filter (where kind = 'embedding' and state = 'billed') as embedding_requests,"
                " coalesce(sum(prompt_tokens) filter (where kind = 'chat'), 0) as prompt_tokens,"
                " coalesce(sum(cached_tokens) filter (where kind = 'chat'), 0) as cached_tokens,"
                " coalesce(sum(completion_tokens) filter (where kind = 'chat'), 0) as completion_tokens,"
                " coalesce(sum(prompt_tokens) filter (where kind = 'embedding'), 0) as embedding_tokens,"
                " case when count(*) filter (where state = 'billed' and usd is null) = 0"
                "  then coalesce(sum(usd), 0)::float8 end as usd,"
                " count(*) filter (where state = 'uncertain') as uncertain_requests,"
                " coalesce(sum(max_usd) filter (where state = 'uncertain'), 0)::float8 as uncertain_usd"
                " from counted",
                {
                    "run_id": self._run.run_id,
                    "table_id": self._run.table_id,
                    "range_key": self._run.range_key,
                },
            )
            totals = await cursor.fetchone()
            assert totals is not None
            return totals

        return await self._operations.query(count)

    def common_parameters(self, charge: Charge) -> list[Any]:
        """Parameters of open_attempt from table_id to max_usd, and the cap."""
        run = self._run
        return [
            *(run.table_id, run.budget, run.run_id, run.range_key),
            *(charge.kind, charge.model, charge.tier, charge.max_usd, self.max_usd),
        ]


def closing_parameters(attempt_id: int, outcome: Outcome) -> list[Any]:
    """Parameters of close_attempt."""
    usage = outcome.usage
    tokens = (
        [None] * 4
        if usage is None
        else [usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.completion_tokens]
    )
    return [attempt_id, outcome.state, outcome.tier, *tokens, outcome.usd]


async def budget_spending(operations: Operations, table_id: str, budget: str) -> Spending:
    """The sums of a budget so far."""

    async def select(connection: AsyncConnection) -> Spending:
        cursor = connection.cursor(row_factory=class_row(Spending))
        await cursor.execute(
            "select billed_usd::float8, uncertain_usd::float8, reserved_usd::float8"
            " from aboutness_ops.budget where table_id = %s and budget = %s",
            [table_id, budget],
        )
        return await cursor.fetchone() or NOTHING_SPENT

    return await operations.query(select)

"""What filling may expect of a ledger, of the one in Postgres and the one in memory alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import count

import pytest

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.ledger import PostgresLedger
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.money.ledger import REFUSED, UNCERTAIN, Charge, Ledger, Outcome, Spending
from tests.support.memory_ledger import MemoryBooks, MemoryLedger

MakeLedger = Callable[..., Ledger]

CHARGE = Charge("chat", "model", "standard", 0.5)
EMBEDDING = Charge("embedding", "vectors", "standard", 0.0625)
BILLED = Outcome("billed", Usage(100, 50, cached_tokens=10), 0.25, "standard")

_tables = count(1)


@pytest.fixture(params=["memory", "postgres"])
async def make_ledger(
    request: pytest.FixtureRequest, operations_of_session: Operations | None
) -> AsyncIterator[MakeLedger]:
    """Makes ledgers of runs over one table that no other test knows."""
    table_id, books = f"conformance {next(_tables)}", MemoryBooks()

    def make(run_id: str = "first", range_key: str = "range", max_usd: float | None = None) -> Ledger:
        run = RangeRun(table_id, range_key, run_id, "budget")
        if operations_of_session is None:
            return MemoryLedger(books, run, max_usd)
        return PostgresLedger(operations_of_session, run, IdBlocks(operations_of_session, "attempt"), max_usd)

    yield make


@pytest.fixture
def operations_of_session(request: pytest.FixtureRequest) -> Operations | None:
    """Our own Postgres, for the ledger that needs it."""
    if request.node.callspec.params["make_ledger"] == "memory":
        return None
    operations: Operations = request.getfixturevalue("operations")
    return operations


async def opened(ledger: Ledger, charge: Charge = CHARGE) -> int:
    attempt_id = await ledger.open(charge, request_id=None)
    assert attempt_id is not None
    return attempt_id


async def test_an_entry_is_reserved_until_it_is_closed(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    billed, refused, uncertain, _ = [await opened(ledger) for _ in range(4)]

    assert await ledger.close(billed, BILLED) == Spending(0.25, 0.0, 1.5)
    assert await ledger.close(refused, REFUSED) == Spending(0.25, 0.0, 1.0)
    assert await ledger.close(uncertain, UNCERTAIN) == Spending(0.25, 0.5, 0.5)


async def test_what_is_closed_stays_as_it_is(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    attempt_id = await opened(ledger)

    first = await ledger.close(attempt_id, BILLED)

    assert await ledger.close(attempt_id, UNCERTAIN) == first == Spending(0.25, 0.0, 0.0)


async def test_the_cap_is_never_passed_however_many_ask_at_once(make_ledger: MakeLedger) -> None:
    ledgers = [make_ledger(f"run {number}", max_usd=5.2) for number in range(4)]

    outcomes = await asyncio.gather(
        *(ledger.open(CHARGE, request_id=None) for ledger in ledgers for _ in range(10))
    )

    assert sum(outcome is not None for outcome in outcomes) == 10


async def test_what_was_not_used_of_a_reservation_is_free_again(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(max_usd=0.75)
    attempt_id = await opened(ledger)
    assert await ledger.open(CHARGE, request_id=None) is None

    await ledger.close(attempt_id, BILLED)

    assert await ledger.open(CHARGE, request_id=None) is not None


async def test_uncertain_dollars_stay_under_the_cap(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(max_usd=0.75)
    await ledger.close(await opened(ledger), UNCERTAIN)

    assert await ledger.open(CHARGE, request_id=None) is None
    assert await ledger.open(EMBEDDING, request_id=None) is not None


async def test_an_unknown_price_reserves_nothing_and_makes_the_total_unknown(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()

    spending = await ledger.close(
        await opened(ledger, replace(CHARGE, max_usd=None)), replace(BILLED, usd=None)
    )

    assert spending == Spending(0.0, 0.0, 0.0)
    assert (await ledger.report()).usd is None


async def test_the_sums_of_all_reports_are_what_all_runs_spent_on_the_range(make_ledger: MakeLedger) -> None:
    failed, later = make_ledger("failed"), make_ledger("later")
    other_range = make_ledger("later", range_key="other")
    await failed.close(await opened(failed), BILLED)
    await failed.close(await opened(failed), UNCERTAIN)
    await later.close(await opened(later), BILLED)
    await later.close(await opened(later, EMBEDDING), replace(BILLED, usd=0.0625))
    await other_range.close(await opened(other_range), BILLED)
    await opened(later)

    report = await later.report()

    assert (report.usd, report.uncertain_requests, report.uncertain_usd) == (0.5625, 1, 0.5)
    assert (report.prompt_tokens, report.completion_tokens, report.cached_tokens) == (200, 100, 20)
    assert (report.embedding_requests, report.embedding_tokens) == (1, 100)
    assert (await make_ledger("third").report()).usd == 0.0

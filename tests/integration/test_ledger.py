"""The ledger: every attempt is counted once, and the sums of a budget are those of its attempts."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aboutness_assets.database.operations.connection import Operations, open_operations
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.journal import Journal
from aboutness_assets.database.operations.ledger import PostgresLedger, budget_spending
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import Song
from aboutness_assets.money.ledger import REFUSED, UNCERTAIN, Charge, Outcome, Spending
from tests.support.service_database import ServiceDatabase

CHARGE = Charge("chat", "model", "standard", 0.5)
EMBEDDING = Charge("embedding", "vectors", "standard", 0.0625)
BILLED = Outcome("billed", Usage(100, 50, cached_tokens=10), 0.25, "standard")

_budgets = itertools.count(1)


@pytest.fixture
async def operations(make_service: Callable[..., ServiceDatabase]) -> AsyncIterator[Operations]:
    """Our own Postgres, of the test alone: its tables are counted."""
    async with open_operations(make_service().ops_url) as operations:
        yield operations


def ledger(
    operations: Operations, run_id: str = "first", *, range_key: str = "range", max_usd: float | None = None
) -> PostgresLedger:
    run = RangeRun("table", range_key, run_id, "budget")
    return PostgresLedger(operations, run, IdBlocks(operations, "attempt"), max_usd)


def journal(operations: Operations, ledger: PostgresLedger, run_id: str = "first") -> Journal:
    run = RangeRun("table", "range", run_id, "budget")
    return Journal(operations, run, "integer", ledger, IdBlocks(operations, "chat_request"))


async def fetch(operations: Operations, query: str) -> list[tuple[object, ...]]:
    async with operations.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def opened(ledger: PostgresLedger, charge: Charge = CHARGE) -> int:
    attempt_id = await ledger.open(charge, request_id=None)
    assert attempt_id is not None
    return attempt_id


async def assert_sums_agree(operations: Operations) -> None:
    """The budget's row holds what the view and the promises add up to."""
    [(billed, uncertain, reserved)] = await fetch(
        operations, "select billed_usd, uncertain_usd, reserved_usd from aboutness_ops.budget"
    )
    [sums] = await fetch(
        operations,
        "select coalesce(sum(usd), 0), coalesce(sum(max_usd) filter (where state = 'uncertain'), 0),"
        " coalesce(sum(max_usd) filter (where state = 'in_flight'), 0)"
        " + (select coalesce(sum(promised_usd), 0) from aboutness_ops.chat_request)"
        " from aboutness_ops.spending",
    )
    assert (billed, uncertain, reserved) == sums


async def test_an_attempt_is_in_flight_until_it_is_billed_refused_or_uncertain(
    operations: Operations,
) -> None:
    books = ledger(operations)
    billed, refused, uncertain, _ = [await opened(books) for _ in range(4)]

    assert await books.close(billed, BILLED) == Spending(0.25, 0.0, 1.5)
    assert await books.close(refused, REFUSED) == Spending(0.25, 0.0, 1.0)
    assert await books.close(uncertain, UNCERTAIN) == Spending(0.25, 0.5, 0.5)

    rows = await fetch(
        operations,
        "select table_id, budget, run_id, range_key, kind, model, tier, state, prompt_tokens, cached_tokens,"
        " completion_tokens, usd::float8, max_usd::float8 from aboutness_ops.spending order by sent_at",
    )
    start = ("table", "budget", "first", "range", "chat", "model", "standard")
    assert rows == [
        (*start, "billed", 100, 10, 50, 0.25, 0.5),
        (*start, "refused", None, None, None, None, 0.5),
        (*start, "uncertain", None, None, None, None, 0.5),
        (*start, "in_flight", None, None, None, None, 0.5),
    ]
    await assert_sums_agree(operations)


async def test_a_cap_that_is_lowered_below_what_is_spent_lets_nothing_pass(operations: Operations) -> None:
    await ledger(operations).close(await opened(ledger(operations)), BILLED)

    assert await ledger(operations, max_usd=0.2).open(EMBEDDING, request_id=None) is None
    assert await ledger(operations, max_usd=0.0).open(EMBEDDING, request_id=None) is None


async def test_a_promise_for_embeddings_is_kept_until_it_is_spent_or_given_back(
    operations: Operations,
) -> None:
    books = ledger(operations, max_usd=10)
    requests = journal(operations, books)
    songs = [Song(1, "Imagine", "John Lennon")]
    intents = [
        await requests.intend(
            songs, "pack", CHARGE, prompt_hash="hash", reasoning_effort="none", promised_usd=0.125
        )
        for _ in range(3)
    ]
    used, unused, lost = [intent for intent in intents if intent is not None]
    for intent in (used, unused):
        await requests.answered(intent.request_id, intent.attempt_id, b"answer", BILLED)
    await books.close(lost.attempt_id, UNCERTAIN)
    await requests.unanswered(lost.request_id, maybe_billed=True)
    assert await budget_spending(operations, "table", "budget") == Spending(0.5, 0.5, 0.25)

    embedding = await books.open(EMBEDDING, request_id=None, releases=[used.request_id])
    assert embedding is not None
    assert await budget_spending(operations, "table", "budget") == Spending(0.5, 0.5, 0.125 + 0.0625)
    await assert_sums_agree(operations)
    await books.close(embedding, replace(BILLED, usd=0.03125))
    await requests.settle([used.request_id, unused.request_id])

    assert await budget_spending(operations, "table", "budget") == Spending(0.53125, 0.5, 0.0)
    await assert_sums_agree(operations)


async def test_a_report_whose_commit_went_unheard_says_the_same_again(operations: Operations) -> None:
    books = ledger(operations)
    await books.close(await opened(books), BILLED)
    await books.close(await opened(books, EMBEDDING), UNCERTAIN)

    first = await books.report()

    assert (first.usd, first.uncertain_usd) == (0.25, 0.0625)
    assert await books.report() == first


Step = Literal["open", "open embedding", "bill", "refuse", "lose", "die"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from(["open", "open embedding", "bill", "refuse", "lose", "die"]), max_size=30),
    cap=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_after_any_steps_the_sums_agree_and_the_cap_holds(
    make_service_once: ServiceDatabase, steps: list[Step], cap: float
) -> None:
    asyncio.run(_walk(make_service_once.ops_url, steps, cap))


@pytest.fixture(scope="module")
def make_service_once(service_of_session: ServiceDatabase) -> ServiceDatabase:
    """One database for all examples: each has a budget of its own."""
    return service_of_session


async def _walk(url: str, steps: list[Step], cap: float) -> None:
    async with open_operations(url) as operations:
        name = f"budget {next(_budgets)}"
        run = RangeRun("table of steps", f"range of {name}", "run", name)
        books = PostgresLedger(operations, run, IdBlocks(operations, "attempt"), cap)
        requests = Journal(operations, run, "integer", books, IdBlocks(operations, "chat_request"))
        under_way: list[tuple[int, Charge]] = []
        for step in steps:
            if step.startswith("open"):
                charge = CHARGE if step == "open" else EMBEDDING
                attempt_id = await books.open(charge, request_id=None)
                under_way += [] if attempt_id is None else [(attempt_id, charge)]
            elif step == "die":
                await requests.settle_orphaned_requests()
                under_way.clear()
            elif under_way:
                attempt_id, charge = under_way.pop(0)
                bill = replace(BILLED, usd=(charge.max_usd or 0) / 2)
                await books.close(attempt_id, {"bill": bill, "refuse": REFUSED, "lose": UNCERTAIN}[step])
            spending = await budget_spending(operations, run.table_id, name)
            assert spending.committed_usd <= cap
            sums = await fetch(
                operations,
                "select coalesce(sum(usd), 0)::float8,"
                " coalesce(sum(max_usd) filter (where state = 'uncertain'), 0)::float8,"
                " coalesce(sum(max_usd) filter (where state = 'in_flight'), 0)::float8"
                f" from aboutness_ops.spending where budget = '{name}'",
            )
            assert sums == [(spending.billed_usd, spending.uncertain_usd, spending.reserved_usd)]

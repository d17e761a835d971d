"""Requests are booked, and leave, only while the ranges are surely this run's."""

import asyncio
import logging

from aboutness_assets.database.hold import Hold
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.money.ledger import NOTHING_SPENT, REFUSED, Charge
from aboutness_assets.money.prices import chat_price, embedding_price
from aboutness_assets.money.tariff import Tariff
from aboutness_assets.pipeline.bookings import Accounts, Booking, EmbeddingAccount
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.run_budget import RunBudget
from aboutness_assets.pipeline.stop import Stop
from tests.support.memory_ledger import MemoryBooks, MemoryLedger

RUN = RangeRun("table", "range", "run", "budget")
MODEL = "text-embedding-3-small"


class LosesTheLocks(MemoryLedger):
    """Its first entry takes so long that the locks are in doubt when it is made."""

    def __init__(self, books: MemoryBooks, hold: Hold) -> None:
        super().__init__(books, RUN)
        self._hold: Hold | None = hold

    async def open(self, charge: Charge, *, request_id: int | None, releases: object = ()) -> int | None:
        attempt_id = await super().open(charge, request_id=request_id)
        if self._hold:
            self._hold.doubt()
            self._hold = None
        return attempt_id


def booking(ledger: MemoryLedger, hold: Hold) -> Booking:
    tariff = Tariff(chat_price("gpt-6-luna", None), embedding_price(MODEL, None), "standard")
    budget = RunBudget("budget", None, NOTHING_SPENT)
    accounts = Accounts(ledger, Report(), tariff, budget, Stop(), hold, logging.getLogger())
    return Booking(accounts, EmbeddingAccount(ledger, tariff, MODEL))


async def test_while_the_locks_are_in_doubt_nothing_is_booked() -> None:
    books, hold = MemoryBooks(), Hold()
    request = booking(MemoryLedger(books, RUN), hold)
    sending = asyncio.create_task(request.sending(body_bytes=100, max_completion_tokens=None))
    await asyncio.sleep(0)
    assert not (books.entries or request.is_under_way)

    hold.confirm(hold.clock())

    await sending
    assert len(books.entries) == 1


async def test_a_request_during_whose_booking_the_locks_were_lost_has_not_left_and_costs_nothing() -> None:
    books, hold = MemoryBooks(), Hold()
    hold.confirm(hold.clock())
    request = booking(LosesTheLocks(books, hold), hold)
    sending = asyncio.create_task(request.sending(body_bytes=100, max_completion_tokens=None))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not sending.done()

    hold.confirm(hold.clock())

    await sending
    first, second = books.entries.values()
    assert (first.outcome, second.outcome) == (REFUSED, None)


async def test_a_stop_leaves_alone_whoever_still_reads_an_answer_that_is_paid_for() -> None:
    books, hold, stop = MemoryBooks(), Hold(), Stop()
    hold.confirm(hold.clock())
    request = booking(MemoryLedger(books, RUN), hold)
    is_booked, is_read = asyncio.Event(), asyncio.Event()

    async def ask() -> str:
        await request.sending(body_bytes=100, max_completion_tokens=None)
        await request.answered(b"{}", Usage(10, 0, 0), None)
        is_booked.set()
        await is_read.wait()
        return "read"

    asking = asyncio.create_task(ask())
    stop.watch(asking, request)
    await is_booked.wait()
    stop.because(FatalError("The cap is reached."))
    is_read.set()
    assert await asking == "read"

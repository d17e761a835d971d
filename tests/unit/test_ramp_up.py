"""Requests whose answers nothing limits, under a cap: few of them until it is seen what they cost."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from aboutness_assets.domain.chat import Usage
from aboutness_assets.money.ledger import NOTHING_SPENT, Charge
from aboutness_assets.pipeline.run_budget import RunBudget

CHARGE = Charge("chat", "model", "standard", 0.01, 1_000)
LOG = logging.getLogger("run budget")


@dataclass
class Requests:
    """Requests that enter the budget, and are open until they are answered."""

    budget: RunBudget
    limit: int | None = None
    charge: Charge = CHARGE
    opened: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, number: int) -> None:
        self.tasks = [asyncio.create_task(self._send()) for _ in range(number)]
        await self.settle()

    async def answer(self) -> None:
        """One answer comes."""
        self.budget.answered(self.charge, Usage(10, 10))
        self.budget.closed(NOTHING_SPENT)
        await self.settle()

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def _send(self) -> None:
        async with self.budget.ramping_up(self.charge, self.limit, LOG):
            await asyncio.sleep(0)  # as its entry is committed
            self.budget.opened()
            self.opened += 1


async def test_they_go_one_by_one_at_first_and_then_by_doubling() -> None:
    requests = Requests(RunBudget("budget", 1.0))
    await requests.start(64)
    opened = [requests.opened]
    for _ in range(4):
        await requests.answer()
        opened.append(requests.opened)
    for task in requests.tasks:
        task.cancel()
    assert opened == [1, 3, 5, 7, 9]


@pytest.mark.parametrize(
    ("budget", "limit", "charge"),
    [
        (RunBudget("without a cap", None), None, CHARGE),
        (RunBudget("with limits", 1.0), 1_000, CHARGE),
        (RunBudget("embeddings", 1.0), None, Charge("embedding", "model", "standard", 0.01)),
    ],
    ids=lambda value: value.name if isinstance(value, RunBudget) else "",
)
async def test_all_others_go_at_once(budget: RunBudget, limit: int | None, charge: Charge) -> None:
    requests = Requests(budget, limit, charge)
    await requests.start(64)
    assert requests.opened == 64

"""The budget as one run sees it: what is spent of the cap, and whether waiting can make room below it."""

import asyncio
import logging

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.money.ledger import NOTHING_SPENT, Charge, Outcome, Spending

UNLIMITED_COMPLETION_TOKENS = 16_384
"""Bound of an answer whose request sets no limit, before any answer was seen."""


class CapReached(FatalError):
    """The next request could take the budget over ABOUTNESS_MAX_USD."""


class RunBudget:
    """One for all ranges of a run. max_usd: the cap, None where there is none."""

    def __init__(self, name: str, max_usd: float | None, spending: Spending = NOTHING_SPENT) -> None:
        self.name = name
        self.max_usd = max_usd
        self.spending = spending
        self._open_requests = 0
        self._closed = asyncio.Event()
        self._has_warned = False
        self._longest_answer = 0

    def completion_bound(self, limit: int | None) -> int:
        """Tokens that an answer has at most: its request's own limit, else twice the longest answer so far.

        The latter is an estimate, and bounded below as long as few answers were seen.
        """
        return limit or max(UNLIMITED_COMPLETION_TOKENS, 2 * self._longest_answer)

    def require_price(self, charge: Charge) -> None:
        """Raises FatalError where there is a cap and the price of what is to be sent is unknown."""
        if self.max_usd is not None and charge.max_usd is None:
            setting = "ABOUTNESS_CHAT_PRICE" if charge.kind == "chat" else "ABOUTNESS_EMBEDDING_PRICE"
            raise FatalError(
                f"ABOUTNESS_MAX_USD is set, but the price of the model {charge.model!r} is unknown, so the "
                f"cap cannot be kept. Set {setting} to its price, choose a model with a known price, or "
                "unset the cap."
            )

    def opened(self) -> None:
        """A request was reserved for."""
        self._open_requests += 1

    def closed(self, outcome: Outcome, spending: Spending) -> None:
        """A request has ended; these are the budget's sums now."""
        self._open_requests -= 1
        if outcome.usage is not None:
            self._longest_answer = max(self._longest_answer, outcome.usage.completion_tokens)
        self.spending = spending
        self._closed.set()

    async def wait_for_room(self, charge: Charge) -> None:
        """Wait until a request of this run has ended: it may have cost less than was reserved for it.

        Raises CapReached when none is under way.
        """
        if not self._open_requests:
            spent = self.spending
            raise CapReached(
                f"The next request could cost {charge.max_usd:.4f} dollars and take the budget "
                f"{self.name!r} over ABOUTNESS_MAX_USD = {self.max_usd:g}: {spent.billed_usd:.4f} dollars "
                f"are spent, {spent.uncertain_usd:.4f} may have been billed, {spent.reserved_usd:.4f} are "
                "reserved for what is under way."
            )
        self._closed.clear()
        await self._closed.wait()

    def warn_of_usage(self, charge: Charge, usage: Usage | None, log: logging.Logger) -> None:
        """Say once a run that the provider's usage cannot be booked as it stands."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "An answer of %s states %s: it counts as uncertain, with what it can have cost at most. "
                "Further such answers are not mentioned.",
                charge.model,
                "no usage" if usage is None else f"a usage that cannot be true ({usage})",
            )

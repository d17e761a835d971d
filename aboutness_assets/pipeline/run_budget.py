"""The budget as one run sees it: what is spent of the cap, and whether waiting can make room below it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.money.ledger import NOTHING_SPENT, Charge, Outcome, Spending
from aboutness_assets.money.prices import CHAT_PRICE, EMBEDDING_PRICE

UNLIMITED_COMPLETION_TOKENS = 16_384
"""Bound of an answer whose request sets no limit, before any answer was seen."""

CAP_MARGIN = 1.1
"""On what the songs that are left will cost by what songs have cost so far."""


class CapReached(FatalError):
    """The next request could take the budget over ABOUTNESS_MAX_USD."""


class RunBudget:
    """One for all ranges of a run.

    max_usd: the cap, None where there is none. is_pretend: whether the dollars are nobody's.
    run_billed_usd, run_uncertain_usd: what this run's own requests were billed, and may have been at most, as
    far as it has heard; None where a price is unknown. waiting_for_room: requests that the cap holds back
    now.
    """

    def __init__(
        self,
        name: str,
        max_usd: float | None,
        spending: Spending = NOTHING_SPENT,
        *,
        is_pretend: bool = False,
    ) -> None:
        self.name = name
        self.is_pretend = is_pretend
        self.max_usd = max_usd
        self.spending = spending
        self.run_billed_usd: float | None = 0.0
        self.run_uncertain_usd = 0.0
        self.waiting_for_room = 0
        self._spent_before_usd = spending.billed_usd
        self._open_requests = 0
        self._packs_to_write = 0
        self._closed = asyncio.Event()
        self._ramp = asyncio.Lock()
        self._has_warned = False
        self._tier_notes: set[str] = set()
        self._has_told_of_estimates = False
        self._limits_are_ignored = False
        self._answers = 0
        self._longest_answer = 0
        self._largest_usd = 0.0

    def completion_bound(self, limit: int | None) -> int:
        """Tokens that an answer has at most: its request's own limit, else twice the longest answer so far.

        The latter is an estimate, and never below UNLIMITED_COMPLETION_TOKENS. It also counts where an answer
        was longer than its limit: the endpoint takes limits and does not obey them.
        """
        if limit is not None and not self._limits_are_ignored:
            return limit
        return max(UNLIMITED_COMPLETION_TOKENS, 2 * self._longest_answer)

    @asynccontextmanager
    async def ramping_up(self, charge: Charge, limit: int | None, log: logging.Logger) -> AsyncIterator[None]:
        """Under a cap, let requests whose answers have no limit go one by one at first, then by doubling.

        What they cost is seen before many of them are under way. To be opened within: one at a time, so that
        each finds those before it counted.
        """
        is_limited = limit is not None and not self._limits_are_ignored
        if is_limited or self.max_usd is None or charge.kind != "chat":
            yield
            return
        if not self._has_told_of_estimates:
            self._has_told_of_estimates = True
            log.warning(
                "The endpoint limits no answer's length, so the cap ABOUTNESS_MAX_USD rests on estimates: "
                "the longest answer so far, twice. Requests ramp up slowly."
            )
        async with self._ramp:
            while self._open_requests > self._answers:
                self._closed.clear()
                self.waiting_for_room += 1
                try:
                    await self._closed.wait()
                finally:
                    self.waiting_for_room -= 1
            yield

    def require_price(self, charge: Charge) -> None:
        """Raises FatalError where there is a cap and the price of what is to be sent is unknown."""
        if self.max_usd is not None and charge.max_usd is None:
            setting = CHAT_PRICE if charge.kind == "chat" else EMBEDDING_PRICE
            raise FatalError(
                f"ABOUTNESS_MAX_USD is set, but the price of the model {charge.model!r} is unknown, so the "
                f"cap cannot be kept. Set {setting} to its price, choose a model with a known price, or "
                "unset the cap."
            )

    def opened(self) -> None:
        """A request was reserved for."""
        self._open_requests += 1

    def answered(self, charge: Charge, usage: Usage | None) -> None:
        """An answer came; what it used tells how long answers are."""
        self._answers += 1
        if usage is not None and charge.kind == "chat":
            self._longest_answer = max(self._longest_answer, usage.completion_tokens)
            self._limits_are_ignored |= usage.completion_tokens > charge.max_completion_tokens

    def closed(self, spending: Spending) -> None:
        """A request has ended; these are the budget's sums now."""
        self._open_requests -= 1
        self.spending = spending
        self._closed.set()

    def booked(self, charge: Charge, outcome: Outcome) -> None:
        """The ledger has this outcome of a request of the run."""
        if outcome.state == "uncertain":
            self.run_uncertain_usd += charge.max_usd or 0.0
        elif outcome.state == "billed" and self.run_billed_usd is not None:
            self.run_billed_usd = None if outcome.usd is None else self.run_billed_usd + outcome.usd

    def texts_came(self) -> None:
        """A pack waits to be embedded, for which dollars are promised."""
        self._packs_to_write += 1

    def texts_left(self, packs: int) -> None:
        """Packs were written, or cannot be; what was promised and not spent is free again."""
        self._packs_to_write -= packs
        self._closed.set()

    async def wait_for_room(self, charge: Charge) -> None:
        """Wait until a request of this run has ended: it may have cost less than was reserved for it.

        Raises CapReached when none is under way, nor, where a text is to be asked for, an embedding to come.
        """
        self._largest_usd = max(self._largest_usd, charge.max_usd or 0.0)
        if not self._open_requests and not (charge.kind == "chat" and self._packs_to_write):
            spent = self.spending
            raise CapReached(
                f"The next request could cost {charge.max_usd:.4f} dollars and take the budget "
                f"{self.name!r} over ABOUTNESS_MAX_USD = {self.max_usd:g}: {spent.billed_usd:.4f} dollars "
                f"are spent, {spent.uncertain_usd:.4f} may have been billed, {spent.reserved_usd:.4f} are "
                "reserved for what is under way."
            )
        self._closed.clear()
        self.waiting_for_room += 1
        try:
            await self._closed.wait()
        finally:
            self.waiting_for_room -= 1

    def what_is_left(self, songs_left: int, songs_written: int) -> str:
        """Sentences on what raising the cap would finish.

        songs_left: without a row in the whole catalogue. songs_written: by this run, whose cost per song is
        taken for theirs; without any nothing is said of dollars.
        """
        sentence = f"{songs_left} songs of the catalogue have no row yet."
        if songs_written and self.max_usd is not None:
            per_song = (self.spending.billed_usd - self._spent_before_usd) / songs_written
            needed = self.spending.committed_usd + CAP_MARGIN * per_song * songs_left + self._largest_usd
            sentence += (
                f" At {1000 * per_song:.4f} dollars per 1,000 songs, as in this run, "
                f"ABOUTNESS_MAX_USD = {needed:.2f} would finish them."
            )
        return f"{sentence} What is paid for is kept and used: raise the cap and run it again."

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

    def tell_of_tier(self, note: str | None, log: logging.Logger) -> None:
        """Say once a run and tier that what was billed rests on a price that nobody published."""
        if note is not None and note not in self._tier_notes:
            self._tier_notes.add(note)
            log.warning("%s", note)

"""Books the HTTP requests of one call in the ledger: opened before each leaves, closed when it has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aboutness_assets.database.hold import Hold
from aboutness_assets.domain.chat import Usage
from aboutness_assets.money.ledger import REFUSED, UNCERTAIN, Charge, Ledger, Outcome, Spending
from aboutness_assets.money.tariff import Tariff
from aboutness_assets.pipeline.meter import Meter, NoMeter, RequestOutcome
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.run_budget import RunBudget
from aboutness_assets.pipeline.stop import Stop
from aboutness_assets.provider.attempts import Loss


@dataclass(frozen=True, slots=True)
class Accounts:
    """What booking takes; ledger and report are the range's, the rest is the run's."""

    ledger: Ledger
    report: Report
    tariff: Tariff
    budget: RunBudget
    stop: Stop
    hold: Hold
    log: logging.Logger
    meter: Meter = field(default_factory=NoMeter)


class Account(Protocol):
    """Where the requests of one call are booked."""

    def charge(self, body_bytes: int, max_completion_tokens: int | None) -> Charge:
        """What the next request can cost at most."""
        ...

    async def open(self, charge: Charge) -> int | None:
        """Enter the next request; its attempt_id, None where the cap forbids it."""
        ...

    async def close(self, attempt_id: int, outcome: Outcome, body: bytes) -> Spending:
        """Record how a request ended, and its raw answer where one came."""
        ...


class Booking:
    """The requests of one call, as the provider's client tells of them (provider.attempts.Attempts).

    is_under_way: a request may be at the provider, or its answer is being read, so that cancelling would lose
    what is paid for.
    may_be_billed: one ended in uncertainty. is_given_up: set it to keep what is not sent yet from leaving.
    """

    def __init__(self, accounts: Accounts, account: Account) -> None:
        self.is_under_way = False
        self.may_be_billed = False
        self.is_given_up = False
        self._accounts = accounts
        self._account = account
        self._open: tuple[int, Charge] | None = None
        self._sent_at = 0.0

    async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
        """Open an entry; raises CapReached or what stopped the run, and then nothing is sent."""
        budget = self._accounts.budget
        while True:
            charge = self._account.charge(body_bytes, max_completion_tokens)
            budget.require_price(charge)
            async with budget.ramping_up(charge, max_completion_tokens, self._accounts.log):
                # Again: an answer that came meanwhile may be the longest so far.
                charge = self._account.charge(body_bytes, max_completion_tokens)
                attempt_id = await self._enter(charge)
                budget.opened()
            self._open = attempt_id, charge
            self._sent_at = time.monotonic()
            if self.is_given_up:  # while its entry was committed: it has not left and will not
                await self._close(REFUSED)
                raise asyncio.CancelledError
            if self._accounts.hold.is_certain:
                return
            await self._close(REFUSED)  # nor has it left here: the range may be another run's by now

    async def _enter(self, charge: Charge) -> int:
        """Open an entry once there is room for it; its attempt_id."""
        while True:
            await self._accounts.hold.certain()
            if charge.kind == "chat":  # after a stop no text is asked for, but those that came are embedded
                self._accounts.stop.raise_if_stopped()
            self.is_under_way = True
            attempt_id = await self._account.open(charge)
            if attempt_id is not None:
                return attempt_id
            self.is_under_way = False
            began = time.monotonic()
            await self._accounts.budget.wait_for_room(charge)
            self._accounts.meter.waited("budget", time.monotonic() - began)

    async def answered(self, body: bytes, usage: Usage | None, service_tier: str | None) -> None:
        """Close the entry as billed, or as uncertain where usage is missing or cannot be true."""
        assert self._open is not None
        outcome = self._accounts.tariff.outcome(self._open[1], usage, service_tier)
        self._accounts.budget.answered(self._open[1], usage)
        if outcome.state == "uncertain":
            self._accounts.budget.warn_of_usage(self._open[1], usage, self._accounts.log)
        self._accounts.budget.tell_of_tier(
            self._accounts.tariff.tier_note(self._open[1], outcome), self._accounts.log
        )
        await self._close(outcome, body)

    async def lost(self, loss: Loss, usage: Usage | None = None, service_tier: str | None = None) -> None:
        """Close the entry of a request that brought no answer: as billed where it says what it used."""
        self._accounts.report.rate_limited_requests += loss == "rate_limited"
        if usage is not None:
            assert self._open is not None
            await self._close(self._accounts.tariff.outcome(self._open[1], usage, service_tier))
        else:
            await self._close(UNCERTAIN if loss == "uncertain" else REFUSED, ended=loss)

    async def abandon(self) -> None:
        """Close the entry of a request that is no longer waited for: it may be billed."""
        if self._open is not None:
            await self._close(UNCERTAIN)

    async def _close(self, outcome: Outcome, body: bytes = b"", ended: RequestOutcome | None = None) -> None:
        assert self._open is not None
        (attempt_id, charge), self._open = self._open, None
        self._count(charge, outcome, ended or outcome.state)
        self.may_be_billed |= outcome.state == "uncertain"
        self._accounts.budget.closed(await self._account.close(attempt_id, outcome, body))
        self._accounts.budget.booked(charge, outcome)
        self.is_under_way = bool(body)

    def _count(self, charge: Charge, outcome: Outcome, ended: RequestOutcome) -> None:
        meter = self._accounts.meter
        meter.request(charge.kind, charge.model, ended, time.monotonic() - self._sent_at)
        if outcome.state == "billed" and (usage := outcome.usage) is not None:
            meter.spent(
                charge.kind,
                charge.model,
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                completion_tokens=usage.completion_tokens,
                usd=outcome.usd,
            )


@dataclass(frozen=True, slots=True)
class EmbeddingAccount:
    """Books the embedding of the answers to some chat requests, or of a probe.

    request_ids: of those chat requests; what was promised for their embeddings is spent here.
    """

    ledger: Ledger
    tariff: Tariff
    model: str
    request_ids: Sequence[int] = ()

    def charge(self, body_bytes: int, max_completion_tokens: int | None) -> Charge:
        """What the next request can cost at most."""
        return self.tariff.embedding_charge(self.model, body_bytes=body_bytes)

    async def open(self, charge: Charge) -> int | None:
        """Enter the next request; its attempt_id, None where the cap forbids it."""
        return await self.ledger.open(charge, request_id=None, releases=self.request_ids)

    async def close(self, attempt_id: int, outcome: Outcome, body: bytes) -> Spending:
        """Record how a request ended."""
        return await self.ledger.close(attempt_id, outcome)

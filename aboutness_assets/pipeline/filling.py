"""What the ranges of one run share, and the parts that each of them gets of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.database.operations.failed_songs import FailedSongs
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.journal import Journal
from aboutness_assets.database.operations.ledger import PostgresLedger
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import Song
from aboutness_assets.money.tariff import Tariff
from aboutness_assets.pipeline.bookings import Accounts
from aboutness_assets.pipeline.destination import Destination
from aboutness_assets.pipeline.failures import Failures
from aboutness_assets.pipeline.paid_requests import PaidRequests
from aboutness_assets.pipeline.range_pipeline import RangePipeline, Shared
from aboutness_assets.pipeline.replay import Replay
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.run_budget import RunBudget
from aboutness_assets.pipeline.sink import Sink
from aboutness_assets.pipeline.tuning import Tuning
from aboutness_assets.provider.chat import ChatClient
from aboutness_assets.provider.embedder import Embedder


@dataclass(frozen=True, slots=True)
class Databases:
    """The service's table and our own Postgres, both open."""

    pool: ServicePool
    table: AboutnessTable
    operations: Operations
    quarantine_after: int


@dataclass(frozen=True, slots=True)
class Provider:
    """The two models that are asked."""

    chat: ChatClient
    embedder: Embedder


@dataclass(frozen=True, slots=True)
class Money:
    """What a run pays, and from which budget."""

    tariff: Tariff
    budget: RunBudget


class Filling:
    """Fills the ranges of one run."""

    def __init__(
        self,
        databases: Databases,
        provider: Provider,
        money: Money,
        shared: Shared,
        tuning: Tuning,
        log: logging.Logger,
    ) -> None:
        self.money = money
        self.shared = shared
        self._databases = databases
        self._provider = provider
        self._tuning = tuning
        self._log = log
        self._request_ids = IdBlocks(databases.operations, "chat_request")
        self._attempt_ids = IdBlocks(databases.operations, "attempt")
        self._began_at: float | None = None

    async def fill(self, run: RangeRun, pages: AsyncIterator[list[Song]], report: Report) -> bool:
        """Write rows for the songs of the pages; whether nothing was left out because the run was stopped.

        The reason of the stop is ``shared.stop.error``.
        """
        if self._began_at is None:
            self._began_at = time.monotonic()
            self._log.info(
                "Texts by %s, vectors by %s. Prices: %s.",
                self._provider.chat.model,
                self._provider.embedder.model,
                self.money.tariff.source,
            )
        report.prices_from = self.money.tariff.source
        return await self._pipeline(run, report).fill(pages)

    async def account(self, run: RangeRun, report: Report) -> None:
        """Complete the report of a range that was filled: what the ledger knows of it counts as reported."""
        report.account(await self._ledger(run).report(), self._songs_per_second())
        if warning := report.warning():
            self._log.warning("%s: %s", run.range_key, warning)

    def _songs_per_second(self) -> float:
        """Rows that the run has written per second since it began with its first range."""
        seconds = 0.0 if self._began_at is None else time.monotonic() - self._began_at
        return self.shared.progress.songs_written / seconds if seconds > 0 else 0.0

    def _ledger(self, run: RangeRun) -> PostgresLedger:
        return PostgresLedger(self._databases.operations, run, self._attempt_ids, self.money.budget.max_usd)

    def _pipeline(self, run: RangeRun, report: Report) -> RangePipeline:
        databases, money, tuning, log = self._databases, self.money, self._tuning, self._log
        shared = self.shared
        ledger = self._ledger(run)
        journal = Journal(databases.operations, run, databases.table.id_type, ledger, self._request_ids)
        accounts = Accounts(
            ledger, report, money.tariff, money.budget, shared.stop, shared.hold, log, shared.meter
        )
        records = FailedSongs(databases.operations, run, quarantine_after=databases.quarantine_after)
        failures = Failures(records, report, log, shared.meter)
        sink = Sink(
            self._provider.embedder,
            Destination(
                databases.table,
                databases.pool,
                shared.refusals,
                shared.brake,
                shared.hold,
                log,
                shared.meter,
            ),
            journal,
            failures,
            accounts,
            shared.embedding_breaker,
            packs_per_embedding=tuning.packs_per_embedding,
        )
        return RangePipeline(
            PaidRequests(self._provider.chat, journal, accounts, grace_seconds=tuning.grace_seconds),
            Replay(journal, databases.table, databases.pool, report, log),
            sink,
            failures,
            accounts,
            shared,
        )

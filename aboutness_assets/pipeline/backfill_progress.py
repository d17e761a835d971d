"""Tells how far a backfill is while a run fills: one truth over all its runs, kept in our own Postgres.

Nothing here can fail a run: what cannot be told is logged once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from aboutness_assets.database.operations.run_progress import (
    BackfillState,
    Counts,
    Outcome,
    RunProgress,
    RunRow,
)
from aboutness_assets.database.service.song_counts import SongCounts, counted_now
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.pipeline.last_line import last_line
from aboutness_assets.pipeline.progress import Progress, RunFigures
from aboutness_assets.pipeline.session import Session

SECONDS_BETWEEN_UPDATES = 5.0

LEAST_SECONDS, SHARE = 4.0, 1 / 50
"""An observation is made when the last one is that old, in seconds and as a share of the time since the
backfill began: every 5 s for four minutes, every 12 minutes after ten hours. That makes 300 in the first ten
hours, and 35 more whenever it lasts twice as long."""

OBSERVATIONS_OF_RUN_ENDS = 200
"""So many observations may a backfill have before its runs that end well need no observation of their own."""

SECONDS_FOR_THE_LAST = 10.0
"""How long a run waits at its end for its last figures to be kept, and at its beginning for a connection."""

RECOUNTED_SECONDS = 2.0
"""What took no longer to count is counted again when the last run ends."""


class Audience(Protocol):
    """Who is told how far a run is. backfill_id: of Dagster's backfill, or the run's own id."""

    backfill_id: str

    def range_keys(self) -> Sequence[str] | None:
        """All ranges of the backfill, those of later runs too; None where they are the run's. May block."""
        ...

    def tell(
        self, run: RunFigures, outcome: Outcome | None, backfill: BackfillState | None, budget: Budget
    ) -> None:
        """Show what the run has done and, where it is given, how far its backfill is; does not wait."""
        ...


class Budget(Protocol):
    """The budget of the run."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def max_usd(self) -> float | None:
        """Its cap, None where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run works on: ranges; or, where chosen_songs is given, so many songs without a row.

    range_keys: as the ledger has them, also of chosen songs (``smoke``, ``replay``).
    """

    run_id: str
    range_keys: Sequence[str]
    chosen_songs: int | None = None


@asynccontextmanager
async def told(
    session: Session,
    progress: Progress,
    budget: Budget,
    scope: Scope,
    audience: Audience | None,
    log: logging.Logger,
    *,
    seconds_between_updates: float = SECONDS_BETWEEN_UPDATES,
) -> AsyncIterator[None]:
    """While the body runs, and when it has ended, tell the audience (None: nobody) how far it is."""
    if audience is None:
        yield
        return
    teller = _Teller(session, progress, budget, scope, audience, log)
    outcome: Outcome = "failed"
    async with teller.counting():
        telling = asyncio.create_task(teller.keep_telling(seconds_between_updates))
        try:
            yield
            outcome = "done"
        except asyncio.CancelledError:
            outcome = "canceled"
            raise
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await teller.end(outcome)


class _Teller:
    """Tells the audience of one run."""

    def __init__(
        self,
        session: Session,
        progress: Progress,
        budget: Budget,
        scope: Scope,
        audience: Audience,
        log: logging.Logger,
    ) -> None:
        self._session = session
        self._progress = progress
        self._budget = budget
        self._scope = scope
        self._audience = audience
        self._log = log
        table_id = session.range_run().table_id
        self._record = RunProgress(
            session.operations, table_id, audience.backfill_id, scope.run_id, budget.name
        )
        self._counting: asyncio.Task[None] | None = None
        self._has_complained = False
        self._in_ledger: RunFigures | None = None

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Enter the run, and count while the body runs: the state at entry, when it has written nothing."""
        with self._complaining("The progress of this run cannot be kept"):
            await self._record.begin(self._scope.range_keys)
            written_before = await self._record.take_count()
            is_seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._counting = asyncio.create_task(self._count(written_before, is_seen))
            await asyncio.wait({is_seen}, timeout=SECONDS_FOR_THE_LAST)
        try:
            yield
        finally:
            if self._counting is not None:
                self._counting.cancel()
                await asyncio.gather(self._counting, return_exceptions=True)

    async def keep_telling(self, seconds: float) -> None:
        """Tell again and again."""
        while True:
            with self._complaining("The progress of this run cannot be kept"):
                await self._tell(None)
            await asyncio.sleep(seconds)

    async def end(self, outcome: Outcome) -> None:
        """Tell for the last time; where nothing can be kept, of the run alone."""
        is_told = False
        with self._complaining("The last progress of this run cannot be kept"):
            async with asyncio.timeout(SECONDS_FOR_THE_LAST):
                if self._counting is not None:
                    await asyncio.wait({self._counting}, timeout=RECOUNTED_SECONDS)
                await self._tell(outcome)
                is_told = True
        # Without the ledger it is not known what was billed while the run was cancelled.
        run = self._in_ledger or replace(self._progress.figures(), usd=None, uncertain_usd=0.0)
        if not is_told:
            self._audience.tell(run, outcome, None, self._budget)
        self._log.log(logging.INFO if outcome == "done" else logging.WARNING, "%s", last_line(run, outcome))

    async def _tell(self, outcome: Outcome | None) -> None:
        self._progress.look()
        run, record = self._progress.figures(), self._record
        if outcome is not None:  # what was closed while the run was cancelled is in the ledger alone
            usd, uncertain_usd = await record.ledger_sums()
            run = self._in_ledger = replace(run, usd=usd, uncertain_usd=uncertain_usd)
        await record.update(
            RunRow(
                run.ranges_done,
                run.written,
                run.usd,
                run.uncertain_usd,
                run.songs_per_second,
                run.is_settled,
                None if run.limit is None else run.limit.words,
                outcome,
            )
        )
        state = None
        if outcome is None:
            if await record.take_observation(least_seconds=LEAST_SECONDS, share=SHARE):
                state = await record.state()
        else:
            state = await self._recounted(await record.state())
            must = outcome != "done" or state.observations < OBSERVATIONS_OF_RUN_ENDS or not songs_left(state)
            if not await record.take_observation(least_seconds=LEAST_SECONDS, share=SHARE, in_any_case=must):
                state = None
        self._audience.tell(run, outcome, state, self._budget)

    async def _recounted(self, state: BackfillState) -> BackfillState:
        """The state with new counts, where no other run is at work and that does not take long."""
        if state.running or state.count_seconds is None or state.count_seconds > RECOUNTED_SECONDS:
            return state
        written_before = await self._record.take_count(again=True)
        if written_before is None:
            return state
        async with self._counted_now() as counts:
            await self._count_backfill(counts, written_before)
        return await self._record.state()

    async def _count(self, written_before: tuple[int, int] | None, is_seen: asyncio.Future[None]) -> None:
        """Count what there is now; is_seen: is done as soon as what is written later does no harm."""
        try:
            with self._complaining("The songs of this run cannot be counted for its progress"):
                async with self._counted_now() as counts:
                    is_seen.set_result(None)
                    if self._scope.chosen_songs is None:
                        self._progress.count(await counts.of_each(self._scope.range_keys))
                    if written_before is not None:
                        await self._count_backfill(counts, written_before)
        finally:
            if not is_seen.done():
                is_seen.set_result(None)

    async def _count_backfill(self, counts: SongCounts, written_before: tuple[int, int]) -> None:
        """Count the songs of the backfill and of the catalogue, and keep the counts."""
        began_at = time.monotonic()
        of_catalogue = await counts.of_catalogue()
        if self._scope.chosen_songs is not None:
            run = self._progress.figures()
            ranges, of_backfill = 0, (self._scope.chosen_songs, run.written + run.found)
        else:
            keys = await asyncio.to_thread(self._audience.range_keys) or self._scope.range_keys
            ranges, of_backfill = len(keys), await counts.of_all(keys)
        seconds = time.monotonic() - began_at
        kept = Counts(ranges, *of_backfill, *of_catalogue, seconds)
        await self._record.keep_counts(kept, written_before)

    def _counted_now(self) -> AbstractAsyncContextManager[SongCounts]:
        session = self._session
        return counted_now(session.service_pool, session.songs_query, session.id_type)

    @contextmanager
    def _complaining(self, complaint: str) -> Iterator[None]:
        """What fails within is logged, once a run, and the run goes on."""
        try:
            yield
        except Exception as failure:
            if not self._has_complained:
                self._has_complained = True
                reason = printable_line(str(failure))[:300] or type(failure).__name__
                self._log.warning("%s: %s", complaint, reason)


def songs_left(state: BackfillState) -> int | None:
    """Songs of the backfill that have no row and have not failed; None while they are not counted."""
    if state.songs is None or state.songs_with_row is None:
        return None
    return max(0, state.songs - state.songs_with_row - state.written_since - state.failed)

"""One run: both databases, open and as agreed, and what was set for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from aboutness_assets.database.hold import Hold
from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.database.operations.failed_songs import FailedSongs
from aboutness_assets.database.operations.locks import HoldIdle, checks_alone, exclusive_ranges
from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline
from aboutness_assets.database.operations.table_ids import adopt_former_id
from aboutness_assets.database.operations.verification import WHOLE_TABLE_KEY, Verification
from aboutness_assets.database.postgres_errors import database_errors_as_sentences
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.database.service.old_style_rows import OldStyleRows
from aboutness_assets.database.service.replica import SongReader
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import IdType
from aboutness_assets.pipeline.filling import Filling
from aboutness_assets.pipeline.session.databases import (
    REPLICA_SETTING,
    open_own_database,
    open_replica,
    open_service_pool,
    read_aboutness_table,
    songs_id_type,
)
from aboutness_assets.pipeline.session.filling import RunContext, open_filling
from aboutness_assets.pipeline.session.provider import read_terms
from aboutness_assets.pipeline.terms import Terms
from aboutness_assets.pipeline.tuning import DEFAULT_TUNING, Tuning
from aboutness_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """Both databases, open and as agreed, and what was set for this run."""

    service_pool: ServicePool
    operations: Operations
    table: AboutnessTable
    tuning: Tuning
    songs: SongReader
    _settings: Settings = field(repr=False)

    @property
    def id_type(self) -> IdType:
        """What the song ids of both tables are."""
        return self.table.id_type

    @property
    def songs_query(self) -> str:
        """The SELECT that yields song_id, title and artist."""
        return self._settings.songs_query

    @property
    def rollout_at(self) -> datetime:
        """Rows created before it are old-style."""
        return self._settings.rollout_at

    @property
    def pack_size(self) -> int:
        """Songs per chat request."""
        return self._settings.pack_size

    def range_run(self, range_key: str = "", run_id: str = "") -> RangeRun:
        """One run's work on one range, paid from the budget in force; '' where there is none."""
        return RangeRun(self.table.table_id, range_key, run_id, self._settings.budget)

    def failed_songs(self, run: RangeRun) -> FailedSongs:
        """The failed songs of the table, as this run sees and records them."""
        return FailedSongs(self.operations, run, quarantine_after=self._settings.quarantine_after)

    async def terms(self) -> Terms:
        """What this run pays, and how fast it may be. Raises SettingsError."""
        return await read_terms(self._settings)

    @property
    def verification(self) -> Verification:
        """What the checks of the table know."""
        return Verification(self.operations, self.table.table_id)

    @asynccontextmanager
    async def exclusively(self, range_keys: Sequence[str] | None, log: logging.Logger) -> AsyncIterator[Hold]:
        """Hold ranges for this run alone (None: the whole table), waiting while another run holds one.

        Yields what says whether they are held for sure.
        They are marked, so that the checks look at them even if this run is killed.
        """
        async with exclusive_ranges(self.operations.conninfo, self.table.table_id, range_keys, log) as hold:
            await self.verification.mark([WHOLE_TABLE_KEY] if range_keys is None else range_keys)
            yield hold

    def checks_alone(self) -> AbstractAsyncContextManager[HoldIdle]:
        """Let no other process evaluate the checks of the table meanwhile."""
        return checks_alone(self.operations.conninfo, self.table.table_id)

    def filling(
        self, log: logging.Logger, hold: Hold, *, ranges: int = 1
    ) -> AbstractAsyncContextManager[Filling]:
        """What the ranges of one run share; see open_filling. hold: as ``exclusively`` yields it."""
        context = RunContext(self.service_pool, self.operations, self.table, self.tuning, self._settings)
        return open_filling(context, log, hold, ranges)


@asynccontextmanager
async def open_session(settings: Settings, tuning: Tuning = DEFAULT_TUNING) -> AsyncIterator[Session]:
    """As open_unrecorded, for runs that write or judge rows: the old-style rows are recorded once.

    Raises SettingsError, or FatalError where a database cannot be used or fails during the run.
    """
    async with open_unrecorded(settings, tuning) as session:
        pool, operations, table = session.service_pool, session.operations, session.table
        async with pool.connection() as connection, operations.connection() as own:
            rows = OldStyleRows(connection, table.id_type)
            columns = await rows.columns()
            await OldStyleBaseline(own, table.table_id).record(
                settings.rollout_at, columns, rows.digests_before(columns, settings.rollout_at)
            )
        yield session


@asynccontextmanager
async def open_unrecorded(settings: Settings, tuning: Tuning = DEFAULT_TUNING) -> AsyncIterator[Session]:
    """Open both databases and compare them with the contract; nothing is written but our own schema.

    Raises SettingsError, or FatalError where a database cannot be used or fails during the run.
    """
    with database_errors_as_sentences(
        "A database failed during the run",
        "What was written stays and what was paid for is kept; run it again when it is fixed.",
    ):
        async with (
            open_service_pool(settings, tuning) as pool,
            open_own_database(settings, tuning) as operations,
        ):
            table = await read_aboutness_table(pool, tuning)
            await adopt_former_id(operations, table.identity.former_id, table.table_id)
            await songs_id_type(pool, settings, table)
            async with AsyncExitStack() as stack:
                replica = None
                if settings.catalogue_url is not None:
                    replica = await stack.enter_async_context(open_replica(settings, tuning))
                    await songs_id_type(replica, settings, table, REPLICA_SETTING)
                songs = SongReader(table, settings.songs_query, pool, replica)
                yield Session(pool, operations, table, tuning, songs, settings)

"""Opens both databases for a run, and builds what its ranges share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from aboutness_assets.database.hold import Hold
from aboutness_assets.database.operations.capability_store import PostgresCapabilityStore
from aboutness_assets.database.operations.connection import (
    Operations,
    known_schema_version,
    open_operations,
)
from aboutness_assets.database.operations.failed_songs import FailedSongs
from aboutness_assets.database.operations.journal import trim
from aboutness_assets.database.operations.ledger import budget_spending
from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.database.operations.locks import HoldIdle, checks_alone, exclusive_ranges
from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline
from aboutness_assets.database.operations.table_ids import adopt_former_id, namesakes
from aboutness_assets.database.operations.verification import WHOLE_TABLE_KEY, Verification
from aboutness_assets.database.postgres_errors import database_errors_as_sentences
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.connection import ServicePool, open_service
from aboutness_assets.database.service.old_style_rows import OldStyleRows
from aboutness_assets.database.service.replica import SongReader
from aboutness_assets.database.service.songs_query import id_type_of
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.database.url import operations_conninfo, service_conninfo
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import IdType
from aboutness_assets.generation.prompt import HARMLESS_REQUEST
from aboutness_assets.limits.breaker import CircuitBreaker
from aboutness_assets.limits.patience import Patience
from aboutness_assets.limits.throttle import Throttle
from aboutness_assets.pipeline.bottleneck import Bottleneck
from aboutness_assets.pipeline.brake import DatabaseBrake
from aboutness_assets.pipeline.filling import Databases, Filling, Money, Provider
from aboutness_assets.pipeline.meter import Meter, NoMeter
from aboutness_assets.pipeline.progress import Progress
from aboutness_assets.pipeline.range_pipeline import Shared
from aboutness_assets.pipeline.run_budget import RunBudget
from aboutness_assets.pipeline.session.provider import (
    limit_name_of,
    open_transport,
    read_terms,
    service_tier_of,
    tariff_of,
)
from aboutness_assets.pipeline.terms import Terms
from aboutness_assets.pipeline.tuning import DEFAULT_TUNING, Tuning
from aboutness_assets.provider.capabilities import Capabilities
from aboutness_assets.provider.capability_store import endpoint_name
from aboutness_assets.provider.chat import ChatClient, ChatOptions
from aboutness_assets.provider.chat_form import chat_parts
from aboutness_assets.provider.embedder import Embedder
from aboutness_assets.provider.embeddings import EMBEDDING_PARTS, EmbeddingClient
from aboutness_assets.provider.harmless import harmless_chat, harmless_embedding
from aboutness_assets.provider.sender import Sender
from aboutness_assets.provider.services import Service, chat_service, embedding_service
from aboutness_assets.provider.transport import Transport
from aboutness_assets.provider.waiting import waits_told
from aboutness_assets.settings import Settings

REPLICA_SETTING = "ABOUTNESS_CATALOGUE_URL"


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

    @asynccontextmanager
    async def filling(self, log: logging.Logger, hold: Hold, *, ranges: int = 1) -> AsyncIterator[Filling]:
        """What the ranges of one run share: the provider, its limits, the money, the progress.

        hold: as ``exclusively`` yields it; while the ranges are in doubt nothing is sent and no row written.
        The journal is trimmed at the end, however the run ends.
        Raises SettingsError where a setting is missing or malformed.
        """
        opened = _opened_meter(self._settings)
        async with opened as meter, self._filling(log, hold, ranges, meter) as filling:
            yield filling

    @asynccontextmanager
    async def _filling(
        self, log: logging.Logger, hold: Hold, ranges: int, meter: Meter
    ) -> AsyncIterator[Filling]:
        settings, tuning = self._settings, self.tuning
        transport = open_transport(settings)
        services = (chat_service(settings.chat_model), embedding_service(settings.embedding_model))
        throttles = [self._throttle(service, transport, meter) for service in services]
        stores = [
            PostgresCapabilityStore(
                self.operations, service.kind, endpoint_name(transport.base_url), service.model
            )
            for service in services
        ]
        patience = Patience(60 * settings.give_up_after)
        chat, embedding = (
            Sender(service, transport, throttle, log, tuning.retries, harmless=harmless, patience=patience)
            for service, throttle, harmless in zip(
                services, throttles, (harmless_chat(*HARMLESS_REQUEST), harmless_embedding), strict=True
            )
        )
        run = self.range_run()
        if others := await namesakes(self.operations, run.table_id):
            log.warning(
                "Nothing is on record of the table %s, but of %s. If it is the same table, moved to another "
                "cluster, stop this run and give its records the new id first (docs/operating.md, Moving a "
                "database): budgets, kept answers and failed songs start at zero otherwise.",
                run.table_id,
                ", ".join(others),
            )
        spent = await budget_spending(self.operations, run.table_id, run.budget)
        tariff = tariff_of(settings, transport.base_url)
        if not tariff.is_known:
            log.warning("What this run costs is not counted, as a price is unknown: %s.", tariff.source)
        budget = RunBudget(settings.budget, settings.max_usd, spent, is_pretend=tariff.is_pretend)
        brake = DatabaseBrake(tuning.service_connections, log)
        bottleneck = Bottleneck(
            lambda: chat.load,
            lambda: embedding.load,
            budget,
            lambda: (self.service_pool.callers, self.service_pool.max_size),
            lambda: brake.is_on,
            lambda: self.operations.callers,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        progress = Progress(ranges, budget, log, bottleneck)
        breaker_limits = (settings.breaker_unavailable, settings.breaker_bad_share, tuning.judged_answers)
        filling = Filling(
            Databases(self.service_pool, self.table, self.operations, settings.quarantine_after),
            Provider(
                ChatClient(
                    chat,
                    Capabilities(chat_parts(settings.reasoning_effort), stores[0], log),
                    ChatOptions(settings.reasoning_effort, service_tier_of(settings, transport.base_url)),
                    log,
                ),
                Embedder(
                    EmbeddingClient(embedding, Capabilities(EMBEDDING_PARTS, stores[1], log)),
                    self.table.dimension,
                    stores[1],
                    log,
                ),
            ),
            Money(tariff, budget),
            Shared(
                CircuitBreaker(*breaker_limits),
                CircuitBreaker(
                    *breaker_limits,
                    verdict="songs got no usable vector",
                    advice="Try another embedding model.",
                ),
                progress,
                asyncio.Semaphore(tuning.unfinished_packs),
                settings.pack_size,
                brake,
                hold,
                meter,
            ),
            tuning,
            log,
        )
        try:
            async with transport, progress.logged(), waits_told((chat, embedding), log):
                yield filling
            for throttle in throttles:
                await throttle.report()
        finally:
            if chat.tier_refusals:
                log.info(
                    "The tier %s had no capacity for a request %d times; each was sent again later.",
                    settings.tier,
                    chat.tier_refusals,
                )
            await trim(self.operations)

    def _throttle(self, service: Service, transport: Transport, meter: Meter) -> Throttle:
        """The pace of one service, shared with every process that uses the same key."""
        settings = self._settings
        is_chat = service.kind == "chat"
        store = PostgresLimitStore(
            self.operations,
            limit_name_of(service, transport),
            requests_per_minute=settings.requests_per_minute if is_chat else 0,
            tokens_per_minute=settings.tokens_per_minute if is_chat else 0,
            waits=settings.rate_limit_waits,
        )
        return Throttle(
            store,
            max_in_flight=settings.max_in_flight if is_chat else 0,
            max_pause_seconds=self.tuning.max_pause_seconds,
            waited=lambda seconds, paused: meter.waited("rate_limited" if paused else "pace", seconds),
        )


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The service's database alone, and how its ids are cut into ranges.

    songs_pool: of the replica where there is one, else ``pool``.
    """

    pool: ServicePool
    songs_pool: ServicePool
    songs_query: str
    range_size: int | None
    _operations_conninfo: str = field(repr=False)

    def exclusively(self, log: logging.Logger) -> AbstractAsyncContextManager[Hold]:
        """Hold the creation of partitions for this process alone."""
        return exclusive_ranges(self._operations_conninfo, "song_id_ranges", None, log)


@asynccontextmanager
async def _opened_meter(settings: Settings) -> AsyncIterator[Meter]:
    """What counts for those who watch from outside; OpenTelemetry is imported where it is asked for alone."""
    if not settings.otlp_endpoint:
        yield NoMeter()
        return
    from aboutness_assets.telemetry.otel_meter import open_otel_meter

    async with open_otel_meter(settings.otlp_endpoint) as meter:
        yield meter


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


def open_service_pool(
    settings: Settings, tuning: Tuning = DEFAULT_TUNING
) -> AbstractAsyncContextManager[ServicePool]:
    """The service's Postgres. Raises SettingsError; entering it raises FatalError."""
    return open_service(service_conninfo(settings.service_url()), tuning.service_connections)


def open_replica(
    settings: Settings, tuning: Tuning = DEFAULT_TUNING
) -> AbstractAsyncContextManager[ServicePool]:
    """The replica of ABOUTNESS_CATALOGUE_URL, which must be set.

    Raises SettingsError; entering it raises FatalError.
    """
    url = service_conninfo(settings.replica_url() or "", REPLICA_SETTING)
    return open_service(url, tuning.replica_connections, REPLICA_SETTING)


def open_own_database(
    settings: Settings, tuning: Tuning = DEFAULT_TUNING
) -> AbstractAsyncContextManager[Operations]:
    """Our own Postgres, its schema up to date. Raises SettingsError; entering it raises FatalError."""
    return open_operations(
        operations_conninfo(settings.operations_url()), retry_seconds=tuning.operations_retry_seconds
    )


async def read_aboutness_table(pool: ServicePool, tuning: Tuning = DEFAULT_TUNING) -> AboutnessTable:
    """song_aboutness as it is. Raises FatalError where it, or a right on it, is not as agreed."""
    async with pool.connection() as connection:
        return await read_table(connection, tuning.insert_retry)


async def songs_id_type(
    pool: ServicePool, settings: Settings, table: AboutnessTable, setting: str = "DATABASE_URL"
) -> IdType:
    """What the ids of songs and table are; the pool is of the URL that ``setting`` holds.

    Raises FatalError where the songs cannot be read, or have ids of another type than the table.
    """
    async with pool.connection() as connection:
        of_songs = await id_type_of(connection, settings.songs_query, setting)
    if of_songs != table.id_type:
        raise FatalError(
            f"The songs' ids are {of_songs}, those of song_aboutness {table.id_type}. "
            "Cast song_id in ABOUTNESS_SONGS_QUERY to the type that song_aboutness has."
        )
    return of_songs


async def look_at_databases(settings: Settings) -> str:
    """What to say of both databases, which are only connected to, where this code can work with them.

    Raises SettingsError, or FatalError where it cannot.
    """
    async with open_service_pool(settings) as pool, pool.connection() as connection:
        await connection.execute("select 1")
    if settings.catalogue_url is not None:
        async with open_replica(settings) as pool, pool.connection() as connection:
            await connection.execute("select 1")
    version = await known_schema_version(operations_conninfo(settings.operations_url()))
    return f"the databases answer, schema version {version}"


@asynccontextmanager
async def open_catalogue(settings: Settings) -> AsyncIterator[Catalogue]:
    """Open the service's database alone, and its replica. Raises SettingsError or FatalError."""
    operations_url = operations_conninfo(settings.operations_url())
    with database_errors_as_sentences(
        "The catalogue cannot be read", "Nothing was changed; run it again when it is fixed."
    ):
        async with AsyncExitStack() as stack:
            pool = songs_pool = await stack.enter_async_context(
                open_service(service_conninfo(settings.service_url()), 1)
            )
            if settings.catalogue_url is not None:
                songs_pool = await stack.enter_async_context(open_replica(settings))
            yield Catalogue(pool, songs_pool, settings.songs_query, settings.range_size, operations_url)

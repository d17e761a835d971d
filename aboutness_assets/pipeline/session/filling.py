"""Builds what the ranges of one run share, from the settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aboutness_assets.database.hold import Hold
from aboutness_assets.database.operations.capability_store import PostgresCapabilityStore
from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.database.operations.journal import trim
from aboutness_assets.database.operations.ledger import budget_spending
from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.database.operations.table_ids import namesakes
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.domain.range_run import RangeRun
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
    service_tier_of,
    tariff_of,
)
from aboutness_assets.pipeline.tuning import Tuning
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


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run works with: both databases, open and as agreed, and what was set for it."""

    service_pool: ServicePool
    operations: Operations
    table: AboutnessTable
    tuning: Tuning
    settings: Settings = field(repr=False)


@asynccontextmanager
async def open_filling(
    context: RunContext, log: logging.Logger, hold: Hold, ranges: int
) -> AsyncIterator[Filling]:
    """What the ranges of one run share: the provider, its limits, the money, the progress.

    hold: says whether the ranges are held for sure; while they are in doubt nothing is sent and no row
    written. The journal is trimmed at the end, however the run ends.
    Raises SettingsError where a setting is missing or malformed.
    """
    async with (
        _opened_meter(context.settings) as meter,
        _filling(context, log, hold, ranges, meter) as filling,
    ):
        yield filling


@asynccontextmanager
async def _filling(
    context: RunContext, log: logging.Logger, hold: Hold, ranges: int, meter: Meter
) -> AsyncIterator[Filling]:
    settings, tuning, operations = context.settings, context.tuning, context.operations
    transport = open_transport(settings)
    services = (chat_service(settings.chat_model), embedding_service(settings.embedding_model))
    throttles = [_throttle(context, service, transport, meter) for service in services]
    stores = [
        PostgresCapabilityStore(operations, service.kind, endpoint_name(transport.base_url), service.model)
        for service in services
    ]
    patience = Patience(60 * settings.give_up_after)
    chat, embedding = (
        Sender(service, transport, throttle, log, tuning.retries, harmless=harmless, patience=patience)
        for service, throttle, harmless in zip(
            services, throttles, (harmless_chat(*HARMLESS_REQUEST), harmless_embedding), strict=True
        )
    )
    run = RangeRun(context.table.table_id, "", "", settings.budget)
    if others := await namesakes(operations, run.table_id):
        log.warning(
            "Nothing is on record of the table %s, but of %s. If it is the same table, moved to another "
            "cluster, stop this run and give its records the new id first (docs/operating.md, Moving a "
            "database): budgets, kept answers and failed songs start at zero otherwise.",
            run.table_id,
            ", ".join(others),
        )
    spent = await budget_spending(operations, run.table_id, run.budget)
    tariff = tariff_of(settings, transport.base_url)
    if not tariff.is_known:
        log.warning("What this run costs is not counted, as a price is unknown: %s.", tariff.source)
    budget = RunBudget(settings.budget, settings.max_usd, spent, is_pretend=tariff.is_pretend)
    brake = DatabaseBrake(tuning.service_connections, log)
    bottleneck = Bottleneck(
        lambda: chat.load,
        lambda: embedding.load,
        budget,
        lambda: (context.service_pool.callers, context.service_pool.max_size),
        lambda: brake.is_on,
        lambda: operations.callers,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
    )
    progress = Progress(ranges, budget, log, bottleneck)
    breaker_limits = (settings.breaker_unavailable, settings.breaker_bad_share, tuning.judged_answers)
    filling = Filling(
        Databases(context.service_pool, context.table, operations, settings.quarantine_after),
        Provider(
            ChatClient(
                chat,
                Capabilities(chat_parts(settings.reasoning_effort), stores[0], log),
                ChatOptions(settings.reasoning_effort, service_tier_of(settings, transport.base_url)),
                log,
            ),
            Embedder(
                EmbeddingClient(embedding, Capabilities(EMBEDDING_PARTS, stores[1], log)),
                context.table.dimension,
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
        await trim(operations)


def _throttle(context: RunContext, service: Service, transport: Transport, meter: Meter) -> Throttle:
    """The pace of one service, shared with every process that uses the same key."""
    settings = context.settings
    is_chat = service.kind == "chat"
    store = PostgresLimitStore(
        context.operations,
        limit_name_of(service, transport),
        requests_per_minute=settings.requests_per_minute if is_chat else 0,
        tokens_per_minute=settings.tokens_per_minute if is_chat else 0,
        waits=settings.rate_limit_waits,
    )
    return Throttle(
        store,
        max_in_flight=settings.max_in_flight if is_chat else 0,
        max_pause_seconds=context.tuning.max_pause_seconds,
        waited=lambda seconds, paused: meter.waited("rate_limited" if paused else "pace", seconds),
    )


@asynccontextmanager
async def _opened_meter(settings: Settings) -> AsyncIterator[Meter]:
    """What counts for those who watch from outside; OpenTelemetry is imported where it is asked for alone."""
    if not settings.otlp_endpoint:
        yield NoMeter()
        return
    from aboutness_assets.telemetry.otel_meter import open_otel_meter

    async with open_otel_meter(settings.otlp_endpoint) as meter:
        yield meter

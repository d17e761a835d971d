"""Opens the databases that the settings name, and compares them with the contract."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aboutness_assets.database.hold import Hold
from aboutness_assets.database.operations.connection import (
    Operations,
    known_schema_version,
    open_operations,
)
from aboutness_assets.database.operations.locks import exclusive_ranges
from aboutness_assets.database.postgres_errors import database_errors_as_sentences
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.connection import ServicePool, open_service
from aboutness_assets.database.service.songs_query import id_type_of
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.database.url import operations_conninfo, service_conninfo
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import IdType
from aboutness_assets.pipeline.tuning import DEFAULT_TUNING, Tuning
from aboutness_assets.settings import Settings

REPLICA_SETTING = "ABOUTNESS_CATALOGUE_URL"


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

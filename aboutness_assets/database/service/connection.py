"""Opening the service's database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.url import service_conninfo
from aboutness_assets.domain.errors import FatalError

CONNECT_SECONDS = 10


@asynccontextmanager
async def open_service(url: str, max_size: int) -> AsyncIterator[AsyncConnectionPool[AsyncConnection]]:
    """A pool of at most ``max_size`` connections to the Postgres of DATABASE_URL.

    Raises SettingsError where the URL is none, FatalError where nobody answers or lets us in.
    """
    service = service_conninfo(url)
    try:
        async with await AsyncConnection.connect(service.conninfo, connect_timeout=CONNECT_SECONDS):
            pass
    except psycopg.OperationalError as unreachable:
        raise FatalError(
            f"The service's Postgres (DATABASE_URL) cannot be used: {postgres_message(unreachable)}. "
            "Nothing was asked or written; check the URL and that it runs."
        ) from None
    async with service.pool(max_size) as pool:
        yield pool

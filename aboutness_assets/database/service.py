"""Opening the service's database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.service_url import service_conninfo
from aboutness_assets.errors import GlobalFault
from aboutness_assets.inert import inert

CONNECT_SECONDS = 10


@asynccontextmanager
async def open_service(url: str, max_size: int) -> AsyncIterator[AsyncConnectionPool[AsyncConnection]]:
    """A pool of at most ``max_size`` connections to the Postgres of DATABASE_URL.

    Raises SettingsError where the URL is none, GlobalFault where nobody answers or lets us in.
    """
    service = service_conninfo(url)
    try:
        async with await AsyncConnection.connect(service.conninfo, connect_timeout=CONNECT_SECONDS):
            pass
    except psycopg.OperationalError as unreachable:
        raise GlobalFault(
            f"The service's Postgres (DATABASE_URL) cannot be used: {first_line(unreachable)}. "
            "Nothing was asked or written; check the URL and that it runs."
        ) from None
    async with service.pool(max_size) as pool:
        yield pool


def first_line(error: psycopg.Error) -> str:
    """Postgres' own words in short, inert: without the values of a row that a DETAIL would show."""
    words = (error.diag.message_primary or str(error)).strip() or type(error).__name__
    return inert(words.splitlines()[0]).rstrip(".")

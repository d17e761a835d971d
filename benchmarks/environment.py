"""What every benchmark runs in: a scratch Postgres with a catalogue, and the endpoint in its own process."""

import asyncio
import csv
import gzip
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from aboutness_assets.pipeline.runs import create_partitions
from aboutness_assets.pipeline.session import open_catalogue
from aboutness_assets.settings import Settings, load_settings
from aboutness_local.postgres import EmbeddedPostgres
from aboutness_local.service_tables import create_operations_database, create_service_tables, forbid_ddl
from benchmarks.endpoint.process import EndpointProcess

FULL_CATALOGUE = Path(__file__).parents[1].parent / "shared" / "data" / "catalogue_full.csv.gz"
"""114,000 songs; the project's sample catalogue stands in where it is absent."""

CHAT_MODEL = "gpt-6-luna"
SERVICE, SERVICE_ROLE = "service", "music_service"
OPERATIONS, OPERATIONS_ROLE = "operations", "operations"

# The settings of aboutness-local.
POSTGRES_OPTIONS = {"max_connections": "200"}


@dataclass(frozen=True)
class Environment:
    """URLs of the databases, the endpoint, and the settings that name them all.

    service_url is for the role of least privilege, admin_url for a superuser of the same database,
    operations_url for our own database.
    """

    service_url: str
    operations_url: str
    admin_url: str
    endpoint: EndpointProcess

    def settings(self, **overrides: Any) -> Settings:
        """The settings of a run; overrides go by field name."""
        return load_settings(**{**self._given(), **overrides})

    def variables(self, **overrides: Any) -> dict[str, str]:
        """The same settings as environment variables, for a process."""
        return {
            str(Settings.model_fields[name].alias): str(value)
            for name, value in {**self._given(), **overrides}.items()
        }

    def lay_catalogue(self, songs: int, *, first_id: int = 1) -> None:
        """Replace the catalogue by so many songs, with ids from first_id, and empty song_aboutness.

        Beyond the titles there are, they come again with a number behind.
        """
        real = real_songs()[:songs]
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            admin.execute("truncate songs, song_aboutness")
            with admin.cursor().copy("copy songs (song_id, title, artist) from stdin") as copy:
                for number, (title, artist) in enumerate(real):
                    copy.write_row((first_id + number, title, artist))
            for copied in range(len(real), songs, len(real) or 1):
                admin.execute(
                    "insert into songs"
                    " select song_id + %(copied)s, title || ' ' || %(copy)s, artist from songs"
                    " where song_id between %(first)s and %(last)s order by song_id",
                    {
                        "copied": copied,
                        "copy": str(copied // len(real) + 1),
                        "first": first_id,
                        "last": first_id + min(len(real), songs - copied) - 1,
                    },
                )
            admin.execute("vacuum analyze songs")

    def empty(self) -> None:
        """Forget every row of song_aboutness and all that our own schema remembers."""
        with psycopg.connect(self.admin_url) as admin:
            admin.execute("truncate song_aboutness")
        with psycopg.connect(self.operations_url) as connection:
            tables = connection.execute(
                "select tablename from pg_tables"
                " where schemaname = 'aboutness_ops' and tablename <> 'schema_version'"
            ).fetchall()
            if tables:
                names = sql.SQL(", ").join(sql.Identifier("aboutness_ops", name) for (name,) in tables)
                connection.execute(sql.SQL("truncate {}").format(names))

    def range_keys(self) -> list[str]:
        """The partition keys of the catalogue, 1,000 songs each, as sync_song_id_ranges creates them."""
        return asyncio.run(range_keys(self.settings()))

    def _given(self) -> dict[str, Any]:
        return {
            "database_url": self.service_url,
            "dagster_pg_url": self.operations_url,
            "openai_api_key": "benchmark",
            "openai_base_url": self.endpoint.base_url,
            "chat_model": CHAT_MODEL,
        }


async def range_keys(settings: Settings, existing: Sequence[str] = ()) -> list[str]:
    """The partition keys that a catalogue lacks beside those that exist."""
    async with open_catalogue(settings) as catalogue:
        log = logging.getLogger("benchmarks")
        return await create_partitions(catalogue, lambda: existing, lambda keys: None, log)


@contextmanager
def environment(songs: int = 0) -> Iterator[Environment]:
    """Bring all of it up with a catalogue of so many songs; stopped and removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="aboutness-benchmark-") as directory,
        EndpointProcess() as endpoint,
    ):
        server = EmbeddedPostgres(Path(directory) / "postgres", POSTGRES_OPTIONS)
        try:
            server.start()
            made = _make_databases(server, endpoint)
            made.lay_catalogue(songs)
            yield made
        finally:
            server.reset()


def _make_databases(server: EmbeddedPostgres, endpoint: EndpointProcess) -> Environment:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(SERVICE)))
        password = server.password(OPERATIONS_ROLE)
        create_operations_database(admin, OPERATIONS, role=OPERATIONS_ROLE, password=password)
    with psycopg.connect(server.url(SERVICE)) as admin:
        create_service_tables(admin, role=SERVICE_ROLE, password=server.password(SERVICE_ROLE))
        forbid_ddl(admin)
    return Environment(
        service_url=server.url(SERVICE, SERVICE_ROLE),
        operations_url=server.url(OPERATIONS, OPERATIONS_ROLE),
        admin_url=server.url(SERVICE),
        endpoint=endpoint,
    )


@cache
def real_songs() -> list[tuple[str, str]]:
    """Title and artist of every song of the largest catalogue that is here."""
    if FULL_CATALOGUE.exists():
        text = gzip.decompress(FULL_CATALOGUE.read_bytes()).decode()
    else:
        print(f"{FULL_CATALOGUE.name} is not here: the sample catalogue stands in.", file=sys.stderr)
        text = (resources.files("aboutness_local") / "sample_songs.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(keepends=True))
    return [(row["title"], row["artist"]) for row in rows]

"""One service for all cases, emptied before each: two databases for every case would double their time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from tests.support.backfills import sample_songs

if TYPE_CHECKING:
    from aboutness_local.postgres import EmbeddedPostgres
    from tests.support.service_database import ServiceDatabase

MOST_SONGS = 60
"""Of one case."""


@pytest.fixture(scope="session")
def service_of_cases(postgres_server: EmbeddedPostgres) -> ServiceDatabase:
    """A service with the songs of all cases."""
    from tests.support.service_database import make_service

    return make_service(postgres_server, songs=sample_songs(MOST_SONGS))


@pytest.fixture
def service(service_of_cases: ServiceDatabase) -> ServiceDatabase:
    """The service, without a row and without memory."""
    with psycopg.connect(service_of_cases.admin_url) as admin:
        admin.execute("delete from song_aboutness")
    with psycopg.connect(service_of_cases.ops_url) as own:
        tables = own.execute(
            "select tablename from pg_tables"
            " where schemaname = 'aboutness_ops' and tablename <> 'schema_version'"
        ).fetchall()
        if tables:
            names = sql.SQL(", ").join(sql.Identifier("aboutness_ops", name) for (name,) in tables)
            own.execute(sql.SQL("truncate {}").format(names))
    return service_of_cases

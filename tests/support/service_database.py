"""Fresh databases of a music service for tests: contract tables, restricted role, DDL forbidden."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import psycopg
from psycopg import sql

from aboutness_local.postgres import EmbeddedPostgres
from aboutness_local.service_tables import create_operations_database, create_service_tables, forbid_ddl

SERVICE_ROLE = "music_service"
OPERATIONS_ROLE = "operations"

_numbers = count(1)


@dataclass(frozen=True)
class ServiceDatabase:
    """The URLs of one service."""

    url: str
    """For the restricted role."""
    admin_url: str
    """The same database for a superuser, to arrange and to look."""
    ops_url: str
    """A fresh database of our own (DAGSTER_PG_URL)."""


def make_service(
    server: EmbeddedPostgres,
    *,
    id_type: str = "integer",
    vector_type: str = "vector(8)",
    songs: Sequence[tuple[int | str, str | None, str | None]] = (),
) -> ServiceDatabase:
    """Create both databases of a service; songs are (song_id, title, artist)."""
    number = next(_numbers)
    service, operations = f"service_{number}", f"operations_{number}"
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(service)))
        password = server.password(OPERATIONS_ROLE)
        create_operations_database(admin, operations, role=OPERATIONS_ROLE, password=password)
    with psycopg.connect(server.url(service)) as admin:
        create_service_tables(
            admin,
            id_type=id_type,
            vector_type=vector_type,
            role=SERVICE_ROLE,
            password=server.password(SERVICE_ROLE),
        )
        with admin.cursor().copy("copy songs (song_id, title, artist) from stdin") as copy:
            for song in songs:
                copy.write_row(song)
        forbid_ddl(admin)
    return ServiceDatabase(
        url=server.url(service, SERVICE_ROLE),
        admin_url=server.url(service),
        ops_url=server.url(operations, OPERATIONS_ROLE),
    )


def drop_service(server: EmbeddedPostgres, service: ServiceDatabase) -> None:
    """Drop both databases of a service, whoever is still connected."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        for url in (service.admin_url, service.ops_url):
            database = sql.Identifier(psycopg.conninfo.conninfo_to_dict(url)["dbname"])  # type: ignore[arg-type]
            admin.execute(sql.SQL("drop database {} with (force)").format(database))

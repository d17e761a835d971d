"""Fresh databases of a music service for tests: contract tables, restricted role, DDL forbidden."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import psycopg
from psycopg import sql

from aboutness_local.service_tables import create_operations_database, create_service_tables, forbid_ddl

SERVICE_ROLE = "music_service"
OPERATIONS_ROLE = "operations"

_numbers = count(1)


class PostgresServer(Protocol):
    """Where the databases of a service are created."""

    def url(self, database: str = ..., user: str = ...) -> str:
        """The URL of a database for a user."""

    def password(self, user: str) -> str:
        """The password of a user, to create it with."""


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
    server: PostgresServer,
    *,
    id_type: str = "integer",
    vector_type: str = "vector(8)",
    encoding: str = "UTF8",
    songs: Sequence[tuple[int | str, str | None, str | None]] = (),
    arrange: str = "",
) -> ServiceDatabase:
    """Create both databases of a service.

    songs: (song_id, title, artist). encoding: of the service's database.
    arrange: what the service's administrator does after that, in SQL; {database} and {role} are this one's.
    """
    number = next(_numbers)
    service, operations = f"service_{number}", f"operations_{number}"
    with psycopg.connect(server.url(), autocommit=True) as admin:
        of_encoding = "" if encoding == "UTF8" else f" template template0 locale 'C' encoding {encoding}"
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(service)) + sql.SQL(of_encoding))
        password = server.password(OPERATIONS_ROLE)
        create_operations_database(admin, operations, role=OPERATIONS_ROLE, password=password)
    with psycopg.connect(server.url(service), client_encoding="UTF8") as admin:
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
        if arrange:
            admin.execute(arrange.replace("{database}", service).replace("{role}", SERVICE_ROLE).encode())
        forbid_ddl(admin)
    return ServiceDatabase(
        url=server.url(service, SERVICE_ROLE),
        admin_url=server.url(service),
        ops_url=server.url(operations, OPERATIONS_ROLE),
    )


def drop_service(server: PostgresServer, service: ServiceDatabase) -> None:
    """Drop both databases of a service, whoever is still connected."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        for url in (service.admin_url, service.ops_url):
            database = sql.Identifier(psycopg.conninfo.conninfo_to_dict(url)["dbname"])  # type: ignore[arg-type]
            admin.execute(sql.SQL("drop database {} with (force)").format(database))

"""What an administrator does before the backfill runs: tables, roles and privileges, as CONTRACT has them.

For the local environment and the tests only: the backfill itself never creates or alters any of it.
"""

import re

from psycopg import Connection, sql

from aboutness_assets.domain.errors import AboutnessError

ID_TYPE = re.compile(r'integer|bigint|uuid|text(?: collate "[\w.-]+")?')
VECTOR_TYPE = re.compile(r"(?:vector|halfvec)\(\d+\)|real\[\]|double precision\[\]")


def create_service_tables(
    admin: Connection,
    *,
    id_type: str = "integer",
    vector_type: str = "vector(1536)",
    role: str,
    password: str,
) -> None:
    """Create both tables in the admin's database, and a role with the privileges that the backfill needs.

    The role, created if absent, can connect, read songs, and read and insert song_aboutness. Only superusers
    can still create anything in the database. Raises AboutnessError for an unknown type.
    """
    for given, known in ((id_type, ID_TYPE), (vector_type, VECTOR_TYPE)):
        if not known.fullmatch(given):
            raise AboutnessError(f"{given!r} is not a type that a column of these tables can have.")
    with admin.transaction():
        create_role(admin, role, password)
        if "vec" in vector_type:
            admin.execute("create extension if not exists vector")
        admin.execute(
            sql.SQL(
                "create table songs (song_id {id_type} primary key, title text, artist text);"
                "create table song_aboutness ("
                "  song_id {id_type} primary key,"
                "  emotions_text text not null,"
                "  moments_text text not null,"
                "  emotions_confidence text,"
                "  moments_confidence text,"
                "  emotions_vector {vector_type},"
                "  moments_vector {vector_type},"
                "  created_at timestamptz not null default now()"
                ");"
                "revoke all on database {database} from public;"
                "revoke create on schema public from public;"
                "grant connect on database {database} to {role};"
                "grant usage on schema public to {role};"
                "grant select on songs to {role};"
                "grant select, insert on song_aboutness to {role}"
            ).format(
                id_type=_type(id_type),
                vector_type=_type(vector_type),
                database=sql.Identifier(admin.info.dbname),
                role=sql.Identifier(role),
            )
        )


def create_role(admin: Connection, role: str, password: str) -> None:
    """Create a role that can log in with the password; an existing one gets the password.

    Only a SCRAM verifier is sent, so that the password cannot end up in a log of statements.
    """
    exists = admin.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
    verifier = admin.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    admin.execute(
        sql.SQL("{verb} role {role} login password {verifier}").format(
            verb=sql.SQL("alter" if exists else "create"), role=sql.Identifier(role), verifier=verifier
        )
    )


def create_operations_database(admin: Connection, name: str, *, role: str, password: str) -> None:
    """Create a database for DAGSTER_PG_URL that belongs to role; an existing one stays as it is.

    admin must be in autocommit mode.
    """
    create_role(admin, role, password)
    database = sql.Identifier(name)
    if not admin.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
        admin.execute(sql.SQL("create database {} owner {}").format(database, sql.Identifier(role)))
    admin.execute(sql.SQL("revoke all on database {} from public").format(database))


def forbid_ddl(admin: Connection) -> None:
    """Make every DDL command in the admin's database fail, even a superuser's.

    A superuser can lift the ban with ``drop event trigger no_ddl``: event triggers do not fire for that.
    """
    admin.execute(
        """
        create function refuse_ddl() returns event_trigger language plpgsql as $$
        begin
            raise exception 'DDL is forbidden in the service''s database: %', tg_tag;
        end $$;
        create event trigger no_ddl on ddl_command_start execute function refuse_ddl();
        """
    )


def _type(checked: str) -> sql.SQL:
    return sql.SQL(checked)  # not a literal, but matched against ID_TYPE or VECTOR_TYPE before

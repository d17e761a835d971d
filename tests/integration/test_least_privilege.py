"""The rights that docs/operating.md tells an administrator to grant: enough, and no more."""

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from aboutness_assets.domain.errors import FatalError
from tests.support.backfills import Backfills, sample_songs
from tests.support.service_database import SERVICE_ROLE, ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
FOR_THE_SERVICE, OUR_OWN_DATABASE = [
    [statement.strip() for statement in block.split(";") if statement.strip()]
    for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    if "create role" in block
]
SELECT_AND_INSERT = "grant select, insert on song_aboutness to aboutness"


@pytest.fixture
def service(make_service: MakeService) -> ServiceDatabase:
    """A service whose administrator has taken from everybody what Postgres grants by default."""
    service = make_service(songs=sample_songs(5))
    as_administrator(service.admin_url, ["revoke usage on schema public from public"])
    return service


@pytest.fixture
def role(service: ServiceDatabase) -> Iterator[str]:
    """The name of a role for the page's statements, dropped after the test."""
    name = f"aboutness_{secrets.token_hex(4)}"
    yield name
    with psycopg.connect(service.admin_url, autocommit=True) as admin:
        admin.execute("set event_triggers = off")
        if admin.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone():
            admin.execute(f"drop owned by {name}".encode())
            admin.execute(f"drop role {name}".encode())


def as_administrator(url: str, statements: Sequence[str]) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("set event_triggers = off")
        for statement in statements:
            admin.execute(statement.encode())


def grant(service: ServiceDatabase, role: str, statements: Sequence[str]) -> str:
    """Carry out statements of the page for this role and this database; returns DATABASE_URL."""
    where = urlsplit(service.admin_url)
    database = where.path[1:]
    as_administrator(
        service.admin_url,
        [
            re.sub(r"\baboutness\b", role, statement)
            .replace("'…'", "'sesame'")
            .replace("database service", f"database {database}")
            for statement in statements
        ],
    )
    return f"postgresql://{role}:sesame@{where.hostname}:{where.port}/{database}"


async def test_the_rights_on_the_page_are_enough(
    service: ServiceDatabase, role: str, stand_in: StandIn
) -> None:
    url = grant(service, role, FOR_THE_SERVICE)
    report = await Backfills(service, stand_in).fill(database_url=url)
    assert (report.songs_written, report.failed) == (5, [])


@pytest.mark.parametrize(
    ("left_out", "instead", "complaint"),
    [
        ("create role aboutness login password '…'", ["create role aboutness login"], "password"),
        ("grant connect on database service to aboutness", [], "permission denied for database"),
        ("grant usage on schema public to aboutness", [], "no table song_aboutness|permission denied"),
        ("grant select on songs to aboutness", [], "permission denied for table songs"),
        (SELECT_AND_INSERT, [], "no SELECT.*no INSERT"),
        (SELECT_AND_INSERT, ["grant insert on song_aboutness to aboutness"], "no SELECT"),
        (SELECT_AND_INSERT, ["grant select on song_aboutness to aboutness"], "no INSERT"),
    ],
)
async def test_without_any_one_of_them_the_run_says_what_is_missing_before_it_spends(
    service: ServiceDatabase, role: str, stand_in: StandIn, left_out: str, instead: list[str], complaint: str
) -> None:
    place = FOR_THE_SERVICE.index(left_out)
    url = grant(service, role, [*FOR_THE_SERVICE[:place], *instead, *FOR_THE_SERVICE[place + 1 :]])
    with pytest.raises(FatalError, match=complaint) as caught:
        await Backfills(service, stand_in).fill(database_url=url)
    assert "sesame" not in str(caught.value)
    assert stand_in.requests()["counts"]["requests"] == {}


def test_every_statement_on_the_page_is_left_out_by_a_test_above() -> None:
    assert len(FOR_THE_SERVICE) == 5


def test_the_embedded_environment_and_the_tests_grant_just_the_same(
    service: ServiceDatabase, role: str
) -> None:
    grant(service, role, FOR_THE_SERVICE)
    assert rights(service, role) == rights(service, SERVICE_ROLE)


def rights(service: ServiceDatabase, role: str) -> set[tuple[str, ...]]:
    """Every right that is granted to the role itself in the service's database, and what the role is."""
    with psycopg.connect(service.admin_url) as admin:
        granted = admin.execute(
            "select what, privilege_type, is_grantable::text from ("
            " select datname, datacl from pg_database where datname = current_database()"
            " union all select nspname, nspacl from pg_namespace"
            " union all select relname, relacl from pg_class) acls(what, acl), aclexplode(acl)"
            " where grantee = %s::regrole",
            [role],
        ).fetchall()
        attributes = admin.execute(
            "select rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,"
            " rolbypassrls from pg_roles where rolname = %s",
            [role],
        ).fetchall()
    assert granted
    return {*granted, *attributes}


async def test_a_database_of_our_own_is_made_as_the_page_says(
    make_service: MakeService, stand_in: StandIn
) -> None:
    service = make_service(songs=sample_songs(3))
    where = urlsplit(service.admin_url)
    role = f"dagster_{secrets.token_hex(4)}"
    as_administrator(
        service.admin_url,
        [
            re.sub(r"\bdagster\b", role, statement).replace("'…'", "'sesame'")
            for statement in OUR_OWN_DATABASE
        ],
    )
    try:
        url = f"postgresql://{role}:sesame@{where.hostname}:{where.port}/{role}"
        report = await Backfills(service, stand_in).fill(dagster_pg_url=url)
        assert report.songs_written == 3
    finally:
        as_administrator(
            service.admin_url, [f"drop database if exists {role} with (force)", f"drop role {role}"]
        )

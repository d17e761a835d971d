"""PgBouncer before the service's Postgres and before our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from dagster_postgres.utils import create_pg_engine

from aboutness_assets.database.url import sqlalchemy_url
from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.instance.storage import PostgresStorage
from tests.support.backfills import QUICK, Backfills, sample_songs
from tests.support.pgbouncer import pgbouncer
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

PRISMA = "schema=public&connection_limit=5&pool_timeout=20&pgbouncer=true&sslaccept=accept_invalid_certs"


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("transaction", {}),
        ("transaction", {"default_pool_size": "1"}),
        ("transaction", {"server_round_robin": "1", "min_pool_size": "5"}),
    ],
)
async def test_a_transaction_pooler_before_our_own_postgres_is_refused(
    make_service: MakeService,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    options: dict[str, str],
) -> None:
    service = make_service(songs=sample_songs(3))
    with pgbouncer(service.ops_url, mode, **options) as through:  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="DAGSTER_PG_URL leads through a transaction pooler"):
            await Backfills(service, stand_in).fill(dagster_pg_url=through)

        monkeypatch.setenv("DAGSTER_PG_URL", through)
        with pytest.raises(SettingsError, match="session mode"):
            await asyncio.to_thread(PostgresStorage.from_config_value, None, {"url_from": "DAGSTER_PG_URL"})

    assert stand_in.requests()["requests"] == []
    with psycopg.connect(service.ops_url) as connection:
        tables = "select count(*) from pg_tables where schemaname in ('public', 'aboutness_ops')"
        assert connection.execute(tables).fetchone() == (0,)


async def test_a_session_pooler_before_our_own_postgres_serves(
    make_service: MakeService, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(songs=sample_songs(3))
    with pgbouncer(service.ops_url, "session") as through:
        report = await Backfills(service, stand_in).fill(dagster_pg_url=f"{through}?{PRISMA}")
        monkeypatch.setenv("DAGSTER_PG_URL", f"{through}?{PRISMA}")
        storage = await asyncio.to_thread(
            PostgresStorage.from_config_value, None, {"url_from": "DAGSTER_PG_URL"}
        )
        assert storage.run_storage.get_runs_count() == 0
        storage.event_log_storage.dispose()

    assert report.songs_written == 3


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        ("?schema=music", {"server_round_robin": "1", "min_pool_size": "4"}),
        ("?schema=music&pgbouncer=true&connection_limit=2", {}),
    ],
)
async def test_a_run_goes_on_behind_a_transaction_pooler_before_the_service(
    make_service: MakeService, stand_in: StandIn, query: str, options: dict[str, str]
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(60)), stand_in, tuning=QUICK)
    if query:
        backfills.arrange(
            "create schema music; grant usage on schema music to music_service;"
            " alter table songs set schema music; alter table song_aboutness set schema music"
        )
    with pgbouncer(backfills.service.url, "transaction", **options) as through:
        report = await backfills.fill(database_url=through + query)
        again = await backfills.fill(database_url=through + query)

    assert (report.songs_written, report.failed) == (60, [])
    assert (again.songs_written, again.songs_skipped_existing) == (0, 60)


def test_prismas_parameters_do_not_reach_dagsters_storage(make_service: MakeService) -> None:
    url = make_service().ops_url.replace("postgresql://", "postgres://")

    engine = create_pg_engine(sqlalchemy_url(f"{url}?{PRISMA}&application_name=our%20own&sslmode=prefer"))

    with engine.connect() as connection:
        found = connection.exec_driver_sql("select current_setting('application_name')").scalar()
    assert found == "our own"
    assert "password" not in repr(engine.url)
    assert str(psycopg.conninfo.conninfo_to_dict(url)["password"]) not in repr(engine.url)

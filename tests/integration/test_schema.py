"""The schema of our own Postgres: created once, brought up to date, refused when newer than the code."""

import asyncio
from collections.abc import Callable

import pytest
from psycopg import AsyncConnection

from aboutness_assets.database.operations.connection import open_operations
from aboutness_assets.database.operations.schema import read_migrations
from aboutness_assets.domain.errors import FatalError
from tests.support.backfills import Backfills, sample_songs, wait_until
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]


async def fetch(connection: AsyncConnection, query: str) -> list[tuple[object, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


async def apply_only(url: str, versions: int) -> None:
    """Brings the schema to an old version, as the code of that time did."""
    async with await AsyncConnection.connect(url) as connection:
        for version in range(1, versions + 1):
            await connection.execute(read_migrations()[version])
        await connection.execute("update aboutness_ops.schema_version set version = %s", [versions])


def test_migrations_are_numbered_without_a_gap() -> None:
    assert list(read_migrations()) == list(range(1, len(read_migrations()) + 1))


async def test_runs_that_start_at_once_create_the_schema_once(make_service: MakeService) -> None:
    url = make_service().ops_url

    async def versions() -> list[tuple[int]]:
        async with open_operations(url) as operations, operations.connection() as connection:
            return await (
                await connection.execute("select version from aboutness_ops.schema_version")
            ).fetchall()

    once = await asyncio.gather(*(versions() for _ in range(8)))
    again = await versions()

    assert [*once, again] == [again] * 9
    assert len(again) == 1


async def test_a_limit_whose_name_holds_a_secret_is_forgotten(make_service: MakeService) -> None:
    url = make_service().ops_url
    await apply_only(url, 10)
    names = [
        "chat https://user:hunter2@gate.test/v1 m 0123456789ab",
        "chat https://gate.test/v1?key=hunter2 m 0123456789ab",
        "chat https://gate.test/v1 m 0123456789ab",
    ]
    async with await AsyncConnection.connect(url) as connection:
        for name in names:
            await connection.execute("select aboutness_ops.lock_limit(%s, null)", [name])

    async with open_operations(url) as operations, operations.connection() as connection:
        assert await fetch(connection, "select name from aboutness_ops.rate_limit") == [(names[2],)]


async def test_a_schema_of_version_1_is_brought_up_to_date_and_keeps_what_it_holds(
    make_service: MakeService,
) -> None:
    url = make_service().ops_url
    await apply_only(url, 1)
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute(
            "insert into aboutness_ops.old_style_baseline values ('table', '2026-02-20', '{song_id}')"
        )

    async with open_operations(url) as operations, operations.connection() as connection:
        columns = await fetch(connection, "select columns from aboutness_ops.old_style_baseline")
        assert columns == [(["song_id"],)]
        assert await fetch(connection, "select count(*) from aboutness_ops.rate_limit") == [(0,)]
        assert await fetch(connection, "select version from aboutness_ops.schema_version") == [
            (max(read_migrations()),)
        ]


async def test_of_several_records_of_the_old_style_rows_the_first_is_kept(make_service: MakeService) -> None:
    url = make_service().ops_url
    await apply_only(url, 6)
    async with await AsyncConnection.connect(url) as connection:
        for table in ("one", "another"):
            for rollout_at, recorded_at in (("2026-03-01", "2026-05-01"), ("2026-04-01", "2026-04-02")):
                await connection.execute(
                    "insert into aboutness_ops.old_style_baseline values (%s, %s, '{song_id}', %s)",
                    [table, rollout_at, recorded_at],
                )
                await connection.execute(
                    "insert into aboutness_ops.old_style_row values (%s, %s, '7', %s)",
                    [table, rollout_at, rollout_at.encode()],
                )

    async with open_operations(url) as operations, operations.connection() as connection:
        kept = await fetch(
            connection,
            "select table_id, rollout_at::date::text, digest from aboutness_ops.old_style_baseline"
            " join aboutness_ops.old_style_row using (table_id) order by table_id",
        )
    assert kept == [("another", "2026-04-01", b"2026-04-01"), ("one", "2026-04-01", b"2026-04-01")]


async def test_what_is_known_about_a_limit_survives_the_migration_to_other_names(
    make_service: MakeService,
) -> None:
    url = make_service().ops_url
    await apply_only(url, 3)
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute("select aboutness_ops.reserve('limit', 1000, 600, 0, 30, 0, 0, 0, null)")
        await connection.execute("select aboutness_ops.rate_limited('limit', 1000, 600, 0, 5, '{15,30}')")

    async with open_operations(url) as operations, operations.connection() as connection:
        known = await fetch(
            connection,
            "select requests_reserved, request_tat, consecutive_429s, base_rate, slow_start, paused_until"
            " from aboutness_ops.rate_limit",
        )
        assert known == [(30, 1006, 1, 9.5, False, 1005)]
        assert await fetch(
            connection,
            "select pause from aboutness_ops.reserve('limit', 1001, 600, 0, 0, 0, null, null, 0, null)",
        ) == [(4,)]


async def test_a_schema_that_is_newer_than_the_code_is_refused_with_a_sentence(
    make_service: MakeService,
) -> None:
    url = make_service().ops_url
    async with open_operations(url):
        pass
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute(
            "update aboutness_ops.schema_version set version = 9000, compatible_since = 9000"
        )

    with pytest.raises(
        FatalError, match=r"has version 9000, but this installation knows versions up to \d+ and cannot"
    ):
        async with open_operations(url):
            pass

    async with await AsyncConnection.connect(url) as connection:
        assert await fetch(connection, "select version from aboutness_ops.schema_version") == [(9000,)]


async def test_a_run_goes_on_while_a_newer_version_migrates_and_the_next_one_of_its_code_works(
    make_service: MakeService, stand_in: StandIn
) -> None:
    """What an upgrade in mid-backfill is for our own database: old code on the schema of the next version."""
    backfills = Backfills(make_service(songs=sample_songs(30)), stand_in)
    stand_in.control({"latency_seconds": {"chat": 1.5}})
    run = asyncio.create_task(backfills.fill())
    await asyncio.to_thread(wait_until, lambda: backfills.requests()["chat"] > 0)
    backfills.arrange_own(
        "create table aboutness_ops.of_tomorrow (id integer);"
        " alter table aboutness_ops.chat_request add column of_tomorrow text;"
        " alter table aboutness_ops.attempt add column of_tomorrow text not null default '';"
        " update aboutness_ops.schema_version set version = version + 1"
    )
    assert (await run).songs_written == 30
    stand_in.reset()
    again = await backfills.fill()
    assert (again.songs_skipped_existing, backfills.requests()["chat"]) == (30, 0)

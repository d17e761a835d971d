"""Old-style rows: recorded once as they are first seen, then compared with what is there."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from aboutness_assets.acceptance.old_style import COMPARED_AT_ONCE, OldStyleComparison, compare_with_baseline
from aboutness_assets.database.operations.connection import open_operations
from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline
from aboutness_assets.database.service.old_style_rows import OldStyleRows
from aboutness_assets.domain.songs import IdType
from tests.support.backfills import ONE_OLD_STYLE_ROW
from tests.support.service_database import ServiceDatabase

MakeService = Callable[..., ServiceDatabase]

ROLLOUT = datetime(2026, 2, 20, tzinfo=UTC)


def arrange(service: ServiceDatabase, statement: str, parameters: list[Any] | None = None) -> None:
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("set local event_triggers = off")
        admin.execute(statement.encode(), parameters)


@pytest.fixture
def service(make_service: MakeService) -> ServiceDatabase:
    service = make_service(vector_type="real[]")
    for number in (-3, 2, 9, 10, 101):
        arrange(service, ONE_OLD_STYLE_ROW, [number, f"Old style {number}."])
    return service


async def record(service: ServiceDatabase, rollout_at: datetime = ROLLOUT) -> None:
    async with both_sides(service) as (rows, baseline):
        columns = await rows.columns()
        await baseline.record(rollout_at, columns, rows.digests_before(columns, rollout_at))


async def compare(
    service: ServiceDatabase,
    id_type: IdType = "integer",
    among: list[str] | None = None,
    compared_at_once: int = COMPARED_AT_ONCE,
) -> OldStyleComparison:
    async with both_sides(service, id_type) as (rows, baseline):
        recorded = await baseline.recorded()
        return await compare_with_baseline(rows, baseline, recorded, among, compared_at_once)


@asynccontextmanager
async def both_sides(
    service: ServiceDatabase, id_type: IdType = "integer"
) -> AsyncIterator[tuple[OldStyleRows, OldStyleBaseline]]:
    async with (
        await AsyncConnection.connect(service.url) as connection,
        open_operations(service.ops_url) as operations,
        operations.connection() as own,
    ):
        yield OldStyleRows(connection, id_type), OldStyleBaseline(own, "table")


async def test_rows_that_stay_are_untouched(service: ServiceDatabase) -> None:
    await record(service)

    comparison = await compare(service)

    assert comparison == OldStyleComparison(5, 5)
    assert comparison.untouched


@pytest.mark.parametrize("compared_at_once", [1, 2, 5, 2_000])
async def test_changed_and_missing_rows_are_named_however_many_are_compared_at_once(
    service: ServiceDatabase, compared_at_once: int
) -> None:
    await record(service)
    arrange(service, "update song_aboutness set moments_text = moments_text || ' ' where song_id in (9, -3)")
    arrange(service, "delete from song_aboutness where song_id = 101")

    comparison = await compare(service, compared_at_once=compared_at_once)

    assert comparison.recorded == 5
    assert (sorted(comparison.changed), comparison.gone) == (["-3", "9"], ["101"])
    assert not comparison.untouched


@pytest.mark.parametrize(
    "change",
    [
        "emotions_vector[1] = 0.25",
        "created_at = created_at + interval '1 microsecond'",
        "emotions_confidence = 'low'",
        "song_id = 11",
    ],
)
async def test_every_column_counts(service: ServiceDatabase, change: str) -> None:
    await record(service)

    arrange(service, f"update song_aboutness set {change} where song_id = 10")

    comparison = await compare(service)
    assert comparison.changed + comparison.gone == ["10"]


async def test_the_first_record_counts_and_later_ones_change_nothing(service: ServiceDatabase) -> None:
    await record(service)
    arrange(service, "update song_aboutness set emotions_text = 'changed' where song_id = 2")

    await record(service)

    assert (await compare(service)).changed == ["2"]


async def test_rows_are_recorded_by_a_server_side_cursor(service: ServiceDatabase) -> None:
    async with both_sides(service) as (rows, baseline):
        columns = await rows.columns()
        digests = rows.digests_before(columns, ROLLOUT)
        async with aclosing(digests):
            await anext(digests)
            cursors = await rows.connection.execute("select name from pg_cursors")
            assert await cursors.fetchall() == [("old_style_digests",)]
        await baseline.record(ROLLOUT, columns, rows.digests_before(columns, ROLLOUT))
        assert (await baseline.recorded()).rows == 5


async def test_new_rows_and_new_columns_are_no_change(service: ServiceDatabase) -> None:
    await record(service)
    arrange(service, "alter table song_aboutness add column note text default 'new'")
    arrange(
        service, "insert into song_aboutness (song_id, emotions_text, moments_text) values (50, 'a', 'b')"
    )

    assert (await compare(service)).untouched


async def test_a_column_that_is_gone_is_named(service: ServiceDatabase) -> None:
    await record(service)
    arrange(service, "alter table song_aboutness drop column emotions_confidence")

    comparison = await compare(service)

    assert comparison == OldStyleComparison(5, 0, problem="These columns are gone: emotions_confidence.")
    assert not comparison.untouched


async def test_rows_created_at_the_rollout_are_new(service: ServiceDatabase) -> None:
    arrange(
        service,
        "insert into song_aboutness (song_id, emotions_text, moments_text, created_at)"
        " values (60, 'a', 'b', '2026-02-20T00:00:00Z'), (61, 'a', 'b', '2026-02-19T23:59:59.999999Z')",
    )
    await record(service)

    assert (await compare(service)).recorded == 6


@pytest.mark.parametrize("moved_to", [datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC)])
async def test_the_record_is_kept_when_the_rollout_moves(
    service: ServiceDatabase, moved_to: datetime
) -> None:
    await record(service)

    await record(service, moved_to)

    async with both_sides(service) as (_, baseline):
        recorded = await baseline.recorded()
    assert (recorded.rollout_at, recorded.rows) == (ROLLOUT, 5)


async def test_chosen_rows_are_compared_alone(service: ServiceDatabase) -> None:
    await record(service)
    arrange(service, "update song_aboutness set moments_text = 'changed' where song_id in (2, 9)")
    arrange(service, "delete from song_aboutness where song_id in (10, 101)")

    comparison = await compare(service, among=["9", "10", "77"])

    assert (comparison.changed, comparison.gone) == (["9"], ["10"])


async def test_text_ids_are_compared_whatever_they_hold(make_service: MakeService) -> None:
    service = make_service(id_type="text", vector_type="real[]")
    ids = ["", "a", "B", "é", "é'\"\\%s{}", "Ω", "🎵", "\uffee", "a,b", "tab\there"]
    for song_id in ids:
        arrange(service, ONE_OLD_STYLE_ROW, [song_id, "Old style."])
    await record(service)
    comparison = await compare(service, id_type="text", compared_at_once=2)
    assert comparison == OldStyleComparison(len(ids), len(ids))

    arrange(service, "delete from song_aboutness")

    assert sorted((await compare(service, id_type="text", compared_at_once=2)).gone) == sorted(ids)

"""What our records call a table: the same after a dump and restore, another for another cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from aboutness_assets.database.operations.connection import open_operations
from aboutness_assets.database.operations.table_ids import adopt_former_id, namesakes
from tests.support.backfills import QUICK, Backfills, sample_songs
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"

WITHOUT_SONGS = "000500001-000600000"

IDS = (
    "select table_id from aboutness_ops.chat_request union select table_id from aboutness_ops.attempt"
    " union select table_id from aboutness_ops.budget union select table_id from aboutness_ops.failed_song"
    " union select table_id from aboutness_ops.old_style_baseline"
    " union select table_id from aboutness_ops.old_style_row"
)
RECORDS = (
    "select (select count(*) from aboutness_ops.chat_request), (select count(*) from aboutness_ops.attempt),"
    " (select sum(billed_usd) from aboutness_ops.budget), (select count(*) from aboutness_ops.failed_song),"
    " (select count(*) from aboutness_ops.old_style_row)"
)


@pytest.fixture
async def backfills(make_service: MakeService, stand_in: StandIn) -> Backfills:
    """A table with records of every kind: requests, dollars, a failed song, an old-style row."""
    made = Backfills(make_service(songs=sample_songs(5)), stand_in, tuning=QUICK)
    made.arrange("insert into songs values (901, '', null), (902, 'Old', 'Song')")
    made.arrange(
        "insert into song_aboutness (song_id, emotions_text, moments_text, created_at)"
        " values (902, 'a', 'b', '2025-01-01')"
    )
    await made.fill()
    return made


def table_id(backfills: Backfills) -> str:
    [(found,)] = backfills.journal(IDS)
    return str(found)


async def test_a_table_is_the_same_after_a_dump_and_restore(backfills: Backfills) -> None:
    before, records = table_id(backfills), backfills.journal(RECORDS)
    assert re.fullmatch(r"service_\d+\.public\.song_aboutness@\d+", before)
    backfills.arrange(
        "alter table song_aboutness rename to dumped;"
        " create table song_aboutness (like dumped including all);"
        " insert into song_aboutness select * from dumped; drop table dumped;"
        " grant select, insert on song_aboutness to music_service"
    )

    backfills.range_key = WITHOUT_SONGS
    await backfills.fill()

    assert table_id(backfills) == before
    assert backfills.journal(RECORDS) == records


async def test_a_role_that_may_not_read_the_system_identifier_tells_clusters_by_their_address(
    backfills: Backfills,
) -> None:
    backfills.arrange("revoke execute on function pg_control_system() from public")

    async with backfills.session() as session:
        host_and_port = r"\.song_aboutness@127\.0\.0\.1:\d+"
        assert re.search(host_and_port, session.table.table_id)


async def test_records_under_an_id_of_earlier_versions_are_taken_over(backfills: Backfills) -> None:
    today, records = table_id(backfills), backfills.journal(RECORDS)
    [(oid,)] = backfills.look("select 'song_aboutness'::regclass::oid")
    former = f"{today.rpartition('@')[0]}#{oid}"
    backfills.arrange_own("select aboutness_ops.rename_table(%s, %s)", [today, former])
    assert table_id(backfills) == former

    backfills.range_key = WITHOUT_SONGS
    await backfills.fill()

    assert table_id(backfills) == today
    assert backfills.journal(RECORDS) == records
    async with open_operations(backfills.service.ops_url) as operations:
        assert not await adopt_former_id(operations, former, today)


async def test_a_table_moved_to_another_cluster_is_given_its_records_by_the_documented_sql(
    backfills: Backfills, caplog: pytest.LogCaptureFixture
) -> None:
    today, records = table_id(backfills), backfills.journal(RECORDS)
    elsewhere = f"{today.rpartition('@')[0]}@12345"
    backfills.arrange_own("select aboutness_ops.rename_table(%s, %s)", [today, elsewhere])
    backfills.arrange("insert into songs values (903, 'Imagine', 'John Lennon')")

    await backfills.fill()

    assert f"Nothing is on record of the table {today}, but of {elsewhere}" in caplog.text
    async with open_operations(backfills.service.ops_url) as operations:
        assert await namesakes(operations, today) == []
    page = OPERATING.read_text("utf-8")
    [statement] = re.findall(r"^select aboutness_ops\.rename_table.*;$", page, re.MULTILINE)
    with psycopg.connect(backfills.service.ops_url) as connection:
        connection.execute(statement.replace("OLD", elsewhere).replace("NEW", today).encode())
    assert table_id(backfills) == today
    [(requests, attempts, billed, failed, old_style)] = backfills.journal(RECORDS)
    [(requests_before, attempts_before, billed_before, *_)] = records
    assert (requests - requests_before, failed, old_style) == (1, 1, 1)
    assert attempts > attempts_before
    assert billed > billed_before
    [(of_attempts,)] = backfills.journal("select sum(usd) from aboutness_ops.attempt")
    assert billed == of_attempts


async def test_two_clusters_share_nothing(backfills: Backfills) -> None:
    async with open_operations(backfills.service.ops_url) as operations:
        assert await namesakes(operations, "other.public.song_aboutness@1") == []
        assert await namesakes(operations, table_id(backfills)) == []

"""The criteria on new rows as SQL, on a real Postgres."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from aboutness_assets.acceptance.looks import OLD_STYLE_ROW_ADDED, Look, look_at_rows
from aboutness_assets.database.operations.connection import open_operations
from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline
from aboutness_assets.database.service.old_style_rows import OldStyleRows
from aboutness_assets.database.service.range_conditions import within
from aboutness_assets.database.service.row_criteria import (
    NEW_ROW_CRITERIA,
    WHOLE_TABLE,
    RowFilter,
    heap_bytes,
    open_row_reader,
)
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.domain.id_ranges import SongIdRange
from tests.support.service_database import ServiceDatabase

ROLLOUT = datetime(2026, 2, 20, tzinfo=UTC)
NEW, OLD = "2026-02-20T00:00:00Z", "2026-02-19T23:59:59Z"
VECTOR = [0.5] * 8

MakeService = Callable[..., ServiceDatabase]


@pytest.fixture
def service(make_service: MakeService) -> ServiceDatabase:
    return make_service(vector_type="real[]")


def arrange(service: ServiceDatabase, statement: str, parameters: Sequence[object] | None = None) -> None:
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("set local event_triggers = off")
        admin.execute(statement.encode(), parameters)


def write(service: ServiceDatabase, *rows: tuple[object, str, str, str]) -> None:
    """Complete rows of (song_id, emotions_text, moments_text, created_at)."""
    with psycopg.connect(service.admin_url) as admin, admin.cursor() as cursor:
        cursor.executemany(
            "insert into song_aboutness (song_id, emotions_text, moments_text, created_at,"
            " emotions_confidence, moments_confidence, emotions_vector, moments_vector)"
            " values (%s, %s, %s, %s, 'low', 'high', array[.5,.5,.5,.5,.5,.5,.5,.5],"
            " array[.5,.5,.5,.5,.5,.5,.5,.5])",
            rows,
        )


async def look_at(service: ServiceDatabase, filtered: RowFilter = WHOLE_TABLE) -> Look:
    """What the next look finds; the first one records the old-style rows."""
    async with (
        await AsyncConnection.connect(service.url) as connection,
        open_operations(service.ops_url) as operations,
        operations.connection() as own,
    ):
        table = await read_table(connection)
        rows, baseline = OldStyleRows(connection, table.id_type), OldStyleBaseline(own, "table")
        columns = await rows.columns()
        await baseline.record(ROLLOUT, columns, rows.digests_before(columns, ROLLOUT))
        reader = await open_row_reader(connection, table, ROLLOUT)
        return await look_at_rows(reader, baseline, filtered)


async def test_an_empty_table_violates_nothing(service: ServiceDatabase) -> None:
    assert await look_at(service) == Look()


async def test_one_hundred_characters_are_allowed_whatever_their_bytes(service: ServiceDatabase) -> None:
    write(service, (1, "x" * 100, "🎵" * 100, NEW), (2, "x" * 101, "fine", NEW), (3, "fine", "é" * 101, NEW))

    look = await look_at(service)

    assert look.rows == 3
    assert look.song_ids == {"emotions_text_within_100_chars": ["2"], "moments_text_within_100_chars": ["3"]}
    assert look.counts == {"emotions_text_within_100_chars": 1, "moments_text_within_100_chars": 1}


@pytest.mark.parametrize(
    ("text", "violates"),
    [
        ("joy [confidence: high]", True),
        ("joy [CONFIDENCE:low]", True),
        ("[Confidence: medium] joy", True),
        ("joy, confidence: high", False),
        ("confidence", False),
    ],
)
async def test_a_confidence_tag_in_any_case_violates(
    service: ServiceDatabase, text: str, violates: bool
) -> None:
    write(service, (1, text, "fine", NEW), (2, "fine", text, NEW))

    look = await look_at(service)

    tags = {"emotions_text_without_confidence_tag": ["1"], "moments_text_without_confidence_tag": ["2"]}
    assert look.song_ids == (tags if violates else {})


@pytest.mark.parametrize(
    "change",
    [
        "emotions_text = null",
        "moments_text = ''",
        "moments_text = E' \\t\\r\\n'",
        "emotions_text = U&'\\00A0\\2003\\3000\\200B\\FEFF'",
        "emotions_confidence = 'banana'",
        "moments_confidence = 'High'",
        "moments_confidence = null",
        "emotions_confidence = ''",
        "emotions_vector = null",
        "moments_vector = '{}'",
        "moments_vector = moments_vector || 0.5::real",
        "moments_vector = moments_vector[:7]",
        "emotions_vector = array_fill(0::real, array[8])",
        "created_at = null",
    ],
)
async def test_a_row_that_lacks_something_is_not_complete(service: ServiceDatabase, change: str) -> None:
    for column in ("emotions_text", "moments_text", "created_at"):
        arrange(service, f"alter table song_aboutness alter {column} drop not null")
    write(service, *((number, "joy", "a morning", NEW) for number in range(1, 6)))
    assert (await look_at(service)).song_ids == {}

    arrange(service, f"update song_aboutness set {change} where song_id = 3")

    assert (await look_at(service)).song_ids == {"new_rows_complete": ["3"]}


@pytest.mark.parametrize("vector_type", ["vector(8)", "halfvec(8)", "double precision[]"])
async def test_vectors_of_every_type_are_looked_at(make_service: MakeService, vector_type: str) -> None:
    service = make_service(vector_type=vector_type)
    write(service, (1, "joy", "a morning", NEW), (2, "joy", "a morning", NEW))
    assert (await look_at(service)).song_ids == {}
    zeros, missing = "'[0,0,0,0,0,0,0,0]'", "null"
    if vector_type == "double precision[]":
        zeros = "'{0,0,0,0,0,0,0,0}'"

    arrange(service, f"update song_aboutness set emotions_vector = {zeros} where song_id = 1")
    arrange(service, f"update song_aboutness set moments_vector = {missing} where song_id = 2")

    assert (await look_at(service)).song_ids == {"new_rows_complete": ["1", "2"]}


async def test_a_bare_vector_has_the_dimension_of_the_others(make_service: MakeService) -> None:
    service = make_service()
    for name in ("emotions", "moments"):
        arrange(service, f"alter table song_aboutness alter {name}_vector type vector")
    write(service, (1, "joy", "a morning", NEW), (2, "joy", "a morning", NEW))
    arrange(service, "update song_aboutness set moments_vector = '[1,2]' where song_id = 2")

    assert (await look_at(service)).song_ids == {"new_rows_complete": ["2"]}


async def test_labels_of_an_enum_in_capitals_are_confidences(service: ServiceDatabase) -> None:
    write(service, (1, "joy", "a morning", NEW))
    arrange(service, "create type confidence as enum ('LOW', 'MEDIUM', 'HIGH', 'UNKNOWN')")
    for name in ("emotions", "moments"):
        arrange(
            service,
            f"alter table song_aboutness alter {name}_confidence"
            f" type confidence using upper({name}_confidence)::confidence",
        )
    assert (await look_at(service)).song_ids == {}

    arrange(service, "update song_aboutness set moments_confidence = 'UNKNOWN'")

    assert (await look_at(service)).song_ids == {"new_rows_complete": ["1"]}


async def test_rows_on_record_as_old_style_are_left_out_whatever_they_hold(service: ServiceDatabase) -> None:
    write(service, (1, "x" * 500, "joy [confidence: high]", OLD), (2, "fine", "fine", NEW))
    arrange(service, "update song_aboutness set emotions_vector = null where song_id = 1")

    look = await look_at(service)

    assert (look.rows, look.song_ids) == (2, {})


@pytest.mark.parametrize("created_at", [f"'{OLD}'", "'-infinity'", "null"])
async def test_a_row_with_an_old_or_no_date_hides_nowhere(service: ServiceDatabase, created_at: str) -> None:
    arrange(service, "alter table song_aboutness alter created_at drop not null")
    write(service, (1, "x" * 500, "fine", OLD))
    await look_at(service)

    write(service, (2, "x" * 500, "fine", NEW))
    arrange(service, f"update song_aboutness set created_at = {created_at} where song_id = 2")

    wrong = "new_rows_complete" if created_at == "null" else OLD_STYLE_ROW_ADDED
    assert (await look_at(service)).song_ids == {"emotions_text_within_100_chars": ["2"], wrong: ["2"]}


async def test_rows_without_a_date_when_first_seen_are_new(service: ServiceDatabase) -> None:
    arrange(service, "alter table song_aboutness alter created_at drop not null")
    write(service, (1, "fine", "fine", NEW))
    arrange(service, "update song_aboutness set created_at = null")

    assert (await look_at(service)).song_ids == {"new_rows_complete": ["1"]}


async def test_a_range_is_looked_at_alone(service: ServiceDatabase) -> None:
    write(service, *((number, "x" * 101, "fine", NEW) for number in range(1, 31)))

    look = await look_at(service, within([SongIdRange("integer", 11, 20)]))

    assert look.rows == look.counts["emotions_text_within_100_chars"] == 10
    assert set(look.song_ids["emotions_text_within_100_chars"]) == {str(n) for n in range(11, 21)}


async def test_all_are_counted_where_only_some_are_named(
    service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(service, *((number, "x" * 101, "fine", NEW) for number in range(60)))
    assert (await look_at(service)).is_complete

    monkeypatch.setattr("aboutness_assets.acceptance.looks.KNOWN_AT_MOST", 20)
    look = await look_at(service)

    assert look.counts["emotions_text_within_100_chars"] == 60
    assert len(look.song_ids["emotions_text_within_100_chars"]) == 20
    assert not look.is_complete


async def test_every_criterion_has_a_condition(service: ServiceDatabase) -> None:
    async with await AsyncConnection.connect(service.url) as connection:
        reader = await open_row_reader(connection, await read_table(connection), ROLLOUT)

    assert {*NEW_ROW_CRITERIA} < reader.conditions.keys()
    assert all(isinstance(condition, sql.Composable) for condition in reader.conditions.values())


async def test_the_heap_grows_with_the_rows(service: ServiceDatabase) -> None:
    async with await AsyncConnection.connect(service.url) as connection:
        empty = await heap_bytes(connection)
        write(service, *((number, "x" * 90, "y" * 90, NEW) for number in range(500)))

        assert empty == 0 < await heap_bytes(connection)

"""song_aboutness on a real Postgres: whether it is as agreed, and inserting rows into it."""

import logging
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import AsyncConnection

from aboutness_assets.database.service.aboutness_table import AboutnessTable, Inserted, Row
from aboutness_assets.database.service.connection import open_service
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.database.url import service_conninfo
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import Aboutness, SongId
from tests.support.backfills import ONE_OLD_STYLE_ROW
from tests.support.service_database import SERVICE_ROLE, ServiceDatabase

MakeService = Callable[..., ServiceDatabase]

LOG = logging.getLogger("aboutness_table")
ABOUTNESS = Aboutness("quiet pride", "high", "walking home in the rain", "low")


def look(service: ServiceDatabase, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(service.admin_url) as admin:
        return admin.execute(query.encode()).fetchall()


def arrange(service: ServiceDatabase, statement: str, parameters: list[Any] | None = None) -> None:
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("set local event_triggers = off")
        admin.execute(statement.encode(), parameters)


async def table_of(service: ServiceDatabase) -> AboutnessTable:
    async with await AsyncConnection.connect(service.url) as connection:
        return await read_table(connection)


async def insert(service: ServiceDatabase, rows: list[Row]) -> Inserted:
    table = await table_of(service)
    async with open_service(service_conninfo(service.url), 1) as pool:
        return await table.insert(pool, rows, LOG)


def row(song_id: SongId, aboutness: Aboutness = ABOUTNESS, dimension: int = 8) -> Row:
    vector = np.arange(1, dimension + 1).astype(np.float32) / np.float32(16)
    return Row(song_id, aboutness, vector, -vector)


def refused(inserted: Inserted) -> dict[SongId, str]:
    return {row.song_id: row.sqlstate for row in inserted.refused}


# --- Is it as agreed? ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_type", "as_read", "vector_type", "kind", "dimension"),
    [
        ("integer", "integer", "vector(8)", "vector", 8),
        ("bigint", "integer", "halfvec(5)", "halfvec", 5),
        ("text", "text", "real[]", "real[]", None),
        ("uuid", "uuid", "double precision[]", "double precision[]", None),
    ],
)
async def test_a_table_as_agreed_is_read(
    make_service: MakeService, id_type: str, as_read: str, vector_type: str, kind: str, dimension: int | None
) -> None:
    table = await table_of(make_service(id_type=id_type, vector_type=vector_type))

    assert (table.id_type, table.vector_kind, table.dimension) == (as_read, kind, dimension)
    assert ".public.song_aboutness@" in table.table_id


async def test_where_the_columns_declare_no_dimension_the_rows_tell_it(make_service: MakeService) -> None:
    service = make_service(vector_type="real[]")
    arrange(service, ONE_OLD_STYLE_ROW, [1, "Old style."])

    assert (await table_of(service)).dimension == 8


async def test_a_bare_vector_column_takes_its_dimension_from_the_rows(make_service: MakeService) -> None:
    service = make_service()
    for column in ("emotions_vector", "moments_vector"):
        arrange(service, f"alter table song_aboutness alter {column} type vector")
    assert (await table_of(service)).dimension is None
    await insert(service, [row(1, dimension=3)])

    assert (await table_of(service)).dimension == 3


CAPITALS = {"low": "LOW", "medium": "MEDIUM", "high": "HIGH"}


@pytest.mark.parametrize(
    ("statement", "labels"),
    [
        (
            "create type certainty as enum ('LOW', 'MEDIUM', 'HIGH', 'NEVER');"
            " alter table song_aboutness alter emotions_confidence type certainty using null,"
            " alter moments_confidence type certainty using null",
            CAPITALS,
        ),
        (
            "create domain sureness as text check (value in ('Low', 'Medium', 'High'));"
            " alter table song_aboutness alter emotions_confidence type sureness,"
            " alter moments_confidence type sureness",
            {"low": "Low", "medium": "Medium", "high": "High"},
        ),
        (
            "alter table song_aboutness"
            " add check (emotions_confidence is null or emotions_confidence ~ '^(LOW|MEDIUM|HIGH)$'),"
            " add check (moments_confidence = any (array['LOW', 'MEDIUM', 'HIGH']))",
            CAPITALS,
        ),
    ],
)
async def test_confidences_are_written_as_the_column_spells_them(
    make_service: MakeService, statement: str, labels: dict[str, str]
) -> None:
    service = make_service()
    arrange(service, statement)

    assert (await table_of(service)).confidence_labels == labels
    assert (await insert(service, [row(1)])).written == 1
    assert look(
        service, "select emotions_confidence::text, moments_confidence::text from song_aboutness"
    ) == [(labels["high"], labels["low"])]


async def test_types_in_a_schema_that_the_search_path_lacks_and_in_domains_are_found(
    make_service: MakeService,
) -> None:
    service = make_service()
    arrange(
        service,
        "create schema extensions; alter extension vector set schema extensions;"
        " create domain phrase as text check (length(value) < 200);"
        " create domain embedding as extensions.vector(8);"
        " alter table song_aboutness alter emotions_text type phrase,"
        " alter emotions_vector type embedding, alter moments_vector type extensions.vector(8)",
    )

    table = await table_of(service)

    assert (table.vector_kind, table.vector_schema, table.dimension) == ("vector", "extensions", 8)
    assert (await insert(service, [row(1)])).written == 1


async def test_a_check_tells_the_dimension_of_an_array(make_service: MakeService) -> None:
    service = make_service(vector_type="real[]")
    arrange(
        service,
        "alter table song_aboutness add check (song_id < 0 or array_length(emotions_vector, 1) = 24)",
    )

    assert (await table_of(service)).dimension == 24


async def test_a_column_that_a_trigger_fills_needs_no_default(make_service: MakeService) -> None:
    service = make_service()
    arrange(
        service,
        "alter table song_aboutness alter created_at drop default;"
        " create function stamp() returns trigger language plpgsql as $$ begin"
        " new.created_at := now(); return new; end $$;"
        " create trigger stamp before insert on song_aboutness for each row execute function stamp()",
    )

    assert (await insert(service, [row(1)])).written == 1


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("drop table song_aboutness", "There is no table song_aboutness"),
        ("alter table song_aboutness drop column moments_text", "column moments_text is missing"),
        ("alter table song_aboutness drop column created_at", "column created_at is missing"),
        (
            "alter table song_aboutness alter created_at type timestamp",
            "column created_at has type timestamp, not one of timestamptz",
        ),
        (
            "alter table song_aboutness alter emotions_text type integer using 0",
            "column emotions_text has type int4",
        ),
        (
            "alter table song_aboutness add column mood text not null",
            "column mood must be given a value, which this project does not know",
        ),
        (
            "alter table song_aboutness alter created_at drop default",
            "column created_at must be given a value, which this project does not know: give it a default",
        ),
        (
            "alter table song_aboutness drop constraint song_aboutness_pkey",
            "song_id has no primary key or unique constraint of its own",
        ),
        (
            "alter table song_aboutness drop constraint song_aboutness_pkey,"
            " add primary key (song_id, created_at)",
            "song_id has no primary key or unique constraint of its own",
        ),
        (
            "create type certainty as enum ('LOW', 'MID', 'HIGH');"
            " alter table song_aboutness alter emotions_confidence type certainty using null",
            "column emotions_confidence is an enum of LOW, MID, HIGH, not of low, medium and high",
        ),
        (
            "alter table song_aboutness add check (emotions_confidence in ('LOW', 'MEDIUM', 'HIGH')),"
            " add check (moments_confidence in ('Low', 'Medium', 'High'))",
            "emotions_confidence and moments_confidence spell low, medium and high differently",
        ),
        (
            "alter table song_aboutness alter moments_vector type vector(9)",
            "emotions_vector and moments_vector differ in type or dimension",
        ),
        (
            "alter table song_aboutness alter moments_vector type halfvec(8)",
            "emotions_vector and moments_vector differ in type or dimension",
        ),
        (
            f"revoke insert on song_aboutness from {SERVICE_ROLE}",
            "no INSERT on song_id, emotions_text",
        ),
        (
            f"revoke select on song_aboutness from {SERVICE_ROLE}",
            "no SELECT on song_id, emotions_text",
        ),
        (
            f"revoke select on song_aboutness from {SERVICE_ROLE};"
            f" grant select (song_id) on song_aboutness to {SERVICE_ROLE}",
            "the role has no SELECT on emotions_text",
        ),
        (
            f"revoke insert on song_aboutness from {SERVICE_ROLE};"
            f" grant insert (song_id, emotions_text, moments_text) on song_aboutness to {SERVICE_ROLE}",
            "no INSERT on emotions_confidence, moments_confidence, emotions_vector, moments_vector.",
        ),
    ],
)
async def test_what_is_not_as_agreed_is_named(
    make_service: MakeService, statement: str, sentence: str
) -> None:
    service = make_service()
    arrange(service, statement)

    with pytest.raises(FatalError) as fault:
        await table_of(service)

    assert sentence in str(fault.value)


async def test_everything_that_is_wrong_is_named_at_once(make_service: MakeService) -> None:
    service = make_service()
    arrange(service, "alter table song_aboutness drop column moments_text, add column mood text not null")
    arrange(service, f"revoke insert on song_aboutness from {SERVICE_ROLE}")

    with pytest.raises(FatalError, match=r"moments_text is missing; column mood .*; the role has no INSERT"):
        await table_of(service)


async def test_further_columns_with_defaults_are_nothing_to_it(make_service: MakeService) -> None:
    service = make_service()
    arrange(
        service,
        "alter table song_aboutness add column note text, add column version integer not null default 1,"
        " add column number bigint generated always as identity,"
        " add column doubled integer not null generated always as (2 * version) stored",
    )

    assert (await insert(service, [row(1)])).written == 1


async def test_insert_rights_on_the_columns_that_are_written_are_enough(make_service: MakeService) -> None:
    service = make_service()
    arrange(
        service,
        f"revoke insert on song_aboutness from {SERVICE_ROLE};"
        " grant insert (song_id, emotions_text, emotions_confidence, emotions_vector, moments_text,"
        f" moments_confidence, moments_vector) on song_aboutness to {SERVICE_ROLE}",
    )

    assert (await insert(service, [row(1)])).written == 1


# --- Inserting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_type", "song_id", "vector_type"),
    [
        ("integer", 2**31 - 1, "vector(8)"),
        ("bigint", -(2**62), "vector(8)"),
        ("text", "a'b\"c\\d%s{}, é🎵", "vector(8)"),
        ("uuid", str(uuid.UUID(int=7)), "vector(8)"),
        ("text", "", "halfvec(8)"),
        ("uuid", str(uuid.UUID(int=8)), "real[]"),
        ("integer", 0, "double precision[]"),
    ],
)
async def test_a_row_is_written_as_it_is(
    make_service: MakeService, id_type: str, song_id: SongId, vector_type: str
) -> None:
    service = make_service(id_type=id_type, vector_type=vector_type)
    about = Aboutness("naïve « joy » %s 🎵", "medium", "'); drop table songs; --", "low")

    inserted = await insert(service, [row(song_id, about)])

    assert (inserted.written, inserted.already_there, inserted.refused) == (1, 0, [])
    [found] = look(
        service,
        "select song_id::text, emotions_text, emotions_confidence, moments_text, moments_confidence,"
        " emotions_vector::real[], moments_vector::real[], created_at > now() - interval '1 hour'"
        " from song_aboutness",
    )
    numbers = [number / 16 for number in range(1, 9)]  # exact in half precision too
    assert found == (
        str(song_id),
        about.emotions_text,
        about.emotions_confidence,
        about.moments_text,
        about.moments_confidence,
        numbers,
        [-number for number in numbers],
        True,
    )
    assert await existing(service, [song_id]) == {song_id}


async def existing(service: ServiceDatabase, song_ids: list[SongId]) -> set[SongId]:
    table = await table_of(service)
    async with open_service(service_conninfo(service.url), 1) as pool:
        return await table.existing(pool, song_ids)


async def test_existing_tells_those_that_have_a_row(make_service: MakeService) -> None:
    service = make_service()
    await insert(service, [row(1), row(5)])

    assert await existing(service, [1, 2, 5]) == {1, 5}
    assert await existing(service, []) == set()


async def test_a_row_that_exists_stays_byte_for_byte(make_service: MakeService) -> None:
    service = make_service(vector_type="real[]")
    arrange(service, ONE_OLD_STYLE_ROW, [2, "Old style. " * 30])
    await insert(service, [row(1)])
    query = "select a::text, ctid::text, xmin::text from song_aboutness a where song_id < 3 order by song_id"
    before = look(service, query)

    other = Aboutness("other", "low", "other", "low")
    inserted = await insert(service, [row(1, other), row(2, other), row(3)])

    assert (inserted.written, inserted.already_there) == (1, 2)
    assert look(service, query) == before


async def test_the_rows_that_postgres_refuses_are_left_out_and_the_others_written(
    make_service: MakeService,
) -> None:
    service = make_service()
    arrange(service, "alter table song_aboutness add constraint odd check (song_id % 2 = 1)")
    texts = {
        1: ABOUTNESS,
        2: ABOUTNESS,  # refused by the constraint
        3: Aboutness("nul \0", "high", "text", "high"),
        7: ABOUTNESS,
    }

    inserted = await insert(service, [row(song_id, texts[song_id]) for song_id in texts])

    assert refused(inserted) == {2: "23514", 3: "22021"}
    assert all(row.reason for row in inserted.refused)
    assert (inserted.written, look(service, "select song_id from song_aboutness order by 1")) == (
        2,
        [(1,), (7,)],
    )


async def test_a_vector_of_another_dimension_is_the_failure_of_its_song(make_service: MakeService) -> None:
    service = make_service()

    inserted = await insert(service, [row(1), row(2, dimension=7)])

    assert (inserted.written, refused(inserted)) == (1, {2: "22000"})


async def test_a_trigger_that_refuses_a_row_fails_that_song_alone(make_service: MakeService) -> None:
    service = make_service()
    arrange(
        service,
        "create function refuse() returns trigger language plpgsql as $$ begin"
        " if new.song_id = 4 then raise exception 'four is reserved'; end if; return new; end $$;"
        " create trigger refuse before insert on song_aboutness for each row execute function refuse()",
    )

    inserted = await insert(service, [row(number) for number in range(1, 8)])

    assert inserted.written == 6
    assert [(row.song_id, row.reason) for row in inserted.refused] == [
        (4, "Postgres refused the row: four is reserved.")
    ]


async def test_a_transaction_with_a_refused_row_is_halved(make_service: MakeService) -> None:
    service = make_service()
    arrange(service, "alter table song_aboutness add constraint not_9 check (song_id <> 9)")

    inserted = await insert(service, [row(number) for number in range(64)])

    assert (inserted.written, refused(inserted)) == (63, {9: "23514"})
    # 32, 16, 8, 4, 2 and 1 rows at once.
    assert look(service, "select count(distinct xmin::text) from song_aboutness") == [(6,)]


async def test_no_rows_are_no_trouble(make_service: MakeService) -> None:
    assert await insert(make_service(), []) == Inserted()


@pytest.mark.parametrize(
    "statement",
    [
        f"revoke insert on song_aboutness from {SERVICE_ROLE}",
        "drop table song_aboutness",
        "alter table song_aboutness drop column moments_text",
    ],
)
async def test_when_no_row_can_be_written_any_more_it_is_a_fault_of_all(
    make_service: MakeService, statement: str
) -> None:
    service = make_service()
    table = await table_of(service)
    arrange(service, statement)

    async with open_service(service_conninfo(service.url), 1) as pool:
        with pytest.raises(FatalError, match="No row can be inserted into song_aboutness"):
            await table.insert(pool, [row(1), row(2)], LOG)


async def test_what_the_encoding_of_the_server_lacks_fails_its_own_row(make_service: MakeService) -> None:
    service = make_service(vector_type="real[]", encoding="LATIN1")
    texts = ["crème brûlée", "heart ♥", "夜に歩く", "plain"]

    inserted = await insert(
        service, [row(number, Aboutness(text, "high", text, "low")) for number, text in enumerate(texts)]
    )

    assert refused(inserted) == {1: "22P05", 2: "22P05"}
    assert all(row.text_does_not_fit and "LATIN1" in row.reason for row in inserted.refused)
    assert inserted.written == 2


async def test_a_server_that_knows_no_encoding_holds_utf_8(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    service = make_service(vector_type="real[]", encoding="SQL_ASCII")

    assert (await insert(service, [row(1, Aboutness("夜 ♥", "high", "é", "low"))])).written == 1
    [(text,)] = look(service, "select encode(emotions_text::bytea, 'hex') from song_aboutness")
    assert text == "夜 ♥".encode().hex()


async def test_rows_that_vanish_are_refused_and_the_others_written(make_service: MakeService) -> None:
    service = make_service()
    arrange(service, "create unique index one_of_each on song_aboutness (emotions_text)")
    await insert(service, [row(1)])

    inserted = await insert(
        service, [row(1), row(2), row(3, Aboutness("other", "low", "rain", "low")), row(4)]
    )

    assert (inserted.written, inserted.already_there) == (1, 1)
    assert refused(inserted) == {2: "", 4: ""}

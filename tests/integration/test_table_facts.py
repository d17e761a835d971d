"""Rows and column types of the service's tables, read from Postgres."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import AsyncConnection

from aboutness_assets.database.service import table_facts
from aboutness_assets.database.service.table_facts import read_service_tables
from tests.support.catalogue_of_songs import real_songs
from tests.support.service_database import ServiceDatabase

TWICE = "select song_id, title::varchar as title, artist from songs cross join generate_series(1, 2);"


async def test_rows_are_counted_and_types_are_as_postgres_writes_them(
    make_service: Callable[..., ServiceDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(
        id_type="bigint",
        vector_type="halfvec(8)",
        songs=real_songs(7),
        arrange="create domain mood as varchar(100);"
        " alter table song_aboutness alter emotions_text type mood;"
        " alter table song_aboutness drop moments_confidence, add note integer;"
        " insert into song_aboutness (song_id, emotions_text, moments_text) values (1, 'a', 'b')",
    )
    async with await AsyncConnection.connect(service.url, autocommit=False) as connection:
        tables = await read_service_tables(connection, TWICE, even_if_large=False)
        assert tables is not None
        assert (tables.songs.rows, tables.song_aboutness.rows) == (7, 1)
        assert [(one.name, one.type_name) for one in tables.songs.columns] == [
            ("song_id", "bigint"),
            ("title", "character varying"),
            ("artist", "text"),
        ]
        types = {one.name: one.type_name for one in tables.song_aboutness.columns}
        assert types["emotions_text"] == "mood"
        assert types["emotions_vector"] == "halfvec(8)"
        assert types["note"] == "integer"
        assert "moments_confidence" not in types
        assert {one.name for one in tables.song_aboutness.columns if not one.is_nullable} >= {"song_id"}

        monkeypatch.setattr(table_facts, "COUNTED_BELOW_ROWS", 0)
        assert await read_service_tables(connection, TWICE, even_if_large=False) is None
        assert await read_service_tables(connection, TWICE, even_if_large=True) == tables

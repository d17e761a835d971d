"""ABOUTNESS_SONGS_QUERY on a real Postgres: taken as it is written, one statement, and able to read alone."""

from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from psycopg import AsyncConnection, errors, sql

from aboutness_assets.database.service import catalogue
from aboutness_assets.database.service.range_boundaries import new_ranges
from aboutness_assets.database.service.songs_query import id_type_of, read_songs, songs_subquery
from aboutness_assets.domain.errors import FatalError
from tests.support.service_database import ServiceDatabase

MakeService = Callable[..., ServiceDatabase]

SELECT = "select song_id, title, artist from songs"
SONGS = [(1, "It's 100%; really", "A"), (2, "Two", "B")]


@pytest.fixture
def service(make_service: MakeService) -> ServiceDatabase:
    """A service whose role may write songs, so that only our own precautions keep it from doing so."""
    service = make_service(songs=SONGS)
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("set local event_triggers = off")
        admin.execute("grant all on all tables in schema public to public")
        admin.execute(
            "create function rename_all() returns text language sql as"
            " $$ update songs set title = 'renamed' returning title $$"
        )
    return service


@pytest.fixture
async def connection(service: ServiceDatabase) -> AsyncIterator[AsyncConnection]:
    async with await AsyncConnection.connect(service.url) as connection:
        yield connection


def titles(service: ServiceDatabase) -> list[str]:
    with psycopg.connect(service.admin_url) as admin:
        return [title for (title,) in admin.execute("select title from songs order by song_id")]


@pytest.mark.parametrize(
    "songs_query",
    [
        "select song_id, title, artist from songs -- every one; of them",
        "select song_id, title, artist from songs; -- the end; ' of it",
        "select song_id, title, artist from songs /* a /* nested; */ comment; */ ;;\n /* ' */ ; --",
        "-- first\nselect song_id, title, artist from songs where title <> ';' /* no end of a quote: ' */",
        r"select song_id, title, artist from songs where title <> E'\'; --'",
        r"select song_id, title, artist from songs where title <> e'\\' -- '",
        r"select song_id, title, artist from songs where title <> '\' -- '",
        "select song_id, title, artist from songs where title <> 'it''s; --'",
        'select song_id, title, artist from (select *, 1 as "a;""b -- ;" from songs) as "s;"',
        "select song_id, $a$;'$$--$a$ || title as title, artist from songs where title <> $$;'$$;",
        "select song_id, title, artist from songs where title like '%' and 7 % 4 = 3 and title <> '%s%(x)s'",
        "with s as (select * from songs) select song_id, title, artist from s;",
        "table songs",
    ],
)
async def test_the_query_is_taken_as_it_is(connection: AsyncConnection, songs_query: str) -> None:
    assert await id_type_of(connection, songs_query) == "integer"
    assert await catalogue.coverage(connection, songs_query) == (2, 0)
    assert [song.song_id for song in await catalogue.songs_without_row(connection, songs_query, "integer", 9)]
    assert await new_ranges(connection, songs_query, [], 1000) == ["000000001-000001000"]


@pytest.mark.parametrize(
    "songs_query",
    [
        "select song_id, title, artist from songs; delete from songs",
        "select song_id, title, artist from songs) as s; delete from songs; --",
        "select song_id, title, artist from songs; -- harmless\ndelete from songs",
        "select song_id, title, artist from songs where title <> E'\\''; delete from songs -- '",
        "; delete from songs",
    ],
)
async def test_a_second_statement_is_refused(
    service: ServiceDatabase, connection: AsyncConnection, songs_query: str
) -> None:
    with pytest.raises(FatalError, match="ABOUTNESS_SONGS_QUERY holds more than one statement"):
        await id_type_of(connection, songs_query)
    assert titles(service) == [title for _, title, _ in SONGS]


async def test_postgres_itself_gets_one_statement_only(
    service: ServiceDatabase, connection: AsyncConnection
) -> None:
    """Were a second one overlooked, as where strings are read in another way: the protocol refuses it."""
    await connection.execute("set standard_conforming_strings = off")
    rest = "delete from songs; select * from (select 1 as a --"
    songs_query = rf"{SELECT} where title <> '\'') as s; {rest}'"
    songs_subquery(songs_query)
    with pytest.raises(FatalError, match="cannot insert multiple commands"):
        await id_type_of(connection, songs_query)
    await connection.rollback()
    with pytest.raises(errors.SyntaxError, match="cannot insert multiple commands"):
        await read_songs(connection, sql.SQL("select 1; delete from songs"), {})
    await connection.rollback()
    assert titles(service) == [title for _, title, _ in SONGS]


@pytest.mark.parametrize(
    "songs_query",
    [
        "select song_id, rename_all() as title, artist from songs",
        "select song_id, title, artist from songs for update",
        "select song_id, title, artist from songs where set_config('transaction_read_only', 'off', true) = ''"
        " or rename_all() = ''",
    ],
)
async def test_a_query_that_writes_is_refused(
    service: ServiceDatabase, connection: AsyncConnection, songs_query: str
) -> None:
    with pytest.raises((FatalError, errors.ActiveSqlTransaction)):
        await catalogue.songs_without_row(connection, songs_query, "integer", 10)
    await connection.rollback()
    assert titles(service) == [title for _, title, _ in SONGS]


async def test_a_query_that_writes_is_told_so_in_a_sentence(connection: AsyncConnection) -> None:
    writes = "select song_id, rename_all() as title, artist from songs"
    with pytest.raises(FatalError, match="ABOUTNESS_SONGS_QUERY may only read, but writes: cannot execute"):
        await catalogue.songs_without_row(connection, writes, "integer", 10)


async def test_a_query_that_changes_data_in_a_cte_is_refused(
    service: ServiceDatabase, connection: AsyncConnection
) -> None:
    deletes = "with gone as (delete from songs returning *) select song_id, title, artist from gone"
    with pytest.raises(FatalError, match="The catalogue cannot be read"):
        await id_type_of(connection, deletes)
    await connection.rollback()
    assert titles(service) == [title for _, title, _ in SONGS]

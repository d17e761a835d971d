"""The catalogue on a real Postgres: every song, whatever its id, is read once, in the column's own order."""

import contextlib
import csv
import gzip
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.service.catalogue import (
    chosen_without_row,
    coverage,
    estimated_coverage,
    pages_without_row,
    range_counts,
    songs_without_row,
)
from aboutness_assets.database.service.connection import ServicePool, open_service
from aboutness_assets.database.service.range_boundaries import new_ranges
from aboutness_assets.database.service.range_conditions import within
from aboutness_assets.database.service.songs_query import id_type_of
from aboutness_assets.database.url import service_conninfo
from aboutness_assets.domain.errors import FatalError, InvalidPartitionKey
from aboutness_assets.domain.id_ranges import LARGEST_ID, SMALLEST_ID, SongIdRange
from aboutness_assets.domain.songs import IdType, Song, SongId

SONGS = "select song_id, title, artist from songs"
CATALOGUE = Path(__file__).parents[2].parent / "shared" / "data" / "catalogue_full.csv.gz"
LINGUISTIC = "linguistic"  # stands for whichever collation the server has that does not sort by code point

HOSTILE_IDS = [
    "",
    " ",
    "'; drop table songs; --",
    '"quoted"',
    "a,b",
    "a...b",
    "a:b",
    "a@2Cb",
    "%s %(x)s {0} {}",
    "back\\slash",
    "line\nbreak\ttab\x1b[31m",
    "é",
    "e\u0301",
    "ß",
    "Ω≈ç√",
    "שלום",
    "🎵👩‍👩‍👧",
    "\u202egnp",
    "é" * 1000,
    "é" * 1001,
    "/path/../%2F",
]


@dataclass
class Catalogue:
    """One service's database with its pool under the restricted role, filled through its owner."""

    admin_url: str
    pool: AsyncConnectionPool[AsyncConnection]
    id_type: IdType

    def add_songs(self, ids: Sequence[SongId]) -> None:
        rows = [(song_id, f"title of {song_id!r}", "artist") for song_id in ids]
        with psycopg.connect(self.admin_url) as connection:
            copy = "copy songs (song_id, title, artist) from stdin"
            with connection.cursor() as cursor, cursor.copy(copy) as writer:
                for row in rows:
                    writer.write_row(row)

    def add_rows(self, ids: Sequence[SongId]) -> None:
        with psycopg.connect(self.admin_url) as connection:
            connection.cursor().executemany(
                "insert into song_aboutness (song_id, emotions_text, moments_text) values (%s, 'e', 'm')",
                [(song_id,) for song_id in ids],
            )

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """As the service's owner, who may do what is forbidden to everybody else: DDL."""
        with psycopg.connect(self.admin_url) as connection:
            connection.execute("set event_triggers = off")
            cursor = connection.execute(sql.SQL(statement))
            return list(cursor.fetchall()) if cursor.description else []

    def ids_in_order(self) -> list[SongId]:
        return [
            song_id if isinstance(song_id, int) else str(song_id)
            for (song_id,) in self.execute("select song_id from songs order by song_id")
        ]

    async def new_keys(self, existing: Sequence[str] = (), range_size: int | None = 10) -> list[str]:
        async with self.pool.connection() as connection:
            return await new_ranges(connection, SONGS, existing, range_size)

    async def pages(self, key: str, page_size: int = 7, songs_query: str = SONGS) -> list[list[Song]]:
        song_id_range = SongIdRange.from_key(key, self.id_type)
        return [page async for page in pages_without_row(self.pool, songs_query, song_id_range, page_size)]

    async def ids_of(self, keys: Sequence[str]) -> list[SongId]:
        """The ids that all ranges yield, one range after another."""
        return [song.song_id for key in keys for page in await self.pages(key) for song in page]


OpenCatalogue = Callable[..., Any]


@pytest.fixture
async def open_catalogue(make_service: Any, postgres_server: Any) -> AsyncIterator[OpenCatalogue]:
    """``await open_catalogue(column_type, collation=None)`` gives an empty Catalogue."""
    pools: list[AsyncConnectionPool[AsyncConnection]] = []

    async def opened(column_type: str, collation: str | None = None) -> Catalogue:
        if collation == LINGUISTIC:
            collation = linguistic_collation(postgres_server.url())
        service = make_service(id_type=column_type + (f' collate "{collation}"' if collation else ""))
        pool = ServicePool(service_conninfo(service.url), 1)
        await pool.open()
        pools.append(pool)
        id_type: IdType = "text" if column_type == "text" else "uuid" if column_type == "uuid" else "integer"
        return Catalogue(service.admin_url, pool, id_type)

    yield opened
    for pool in pools:
        await pool.close()


def linguistic_collation(server_url: str) -> str:
    """A collation that puts a < B < c, unlike code points; skips where the server has none."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        known = connection.execute(
            "select collname from pg_collation where collprovider in ('i', 'c') and collisdeterministic"
            " and collencoding in (-1, 6) order by collname <> 'und-x-icu'"
        ).fetchall()
        for (name,) in known:
            order = sql.SQL("select 'a' < 'B' collate {0} and 'B' < 'c' collate {0}").format(
                sql.Identifier(name)
            )
            # A Postgres built without ICU lists one of its collations all the same, and refuses it.
            with contextlib.suppress(psycopg.errors.FeatureNotSupported):
                if connection.execute(order).fetchone() == (True,):
                    return str(name)
    pytest.skip(
        "this Postgres knows no order but that of code points: it has neither ICU nor a system locale"
    )


def ids_for(column_type: str, numbers: Sequence[int]) -> list[SongId]:
    """Different ids of a column's type, in no order."""
    if column_type == "text":
        # Mixed case and punctuation, which linguistic collations order unlike code points.
        digests = [hashlib.md5(str(number).encode()).hexdigest() for number in numbers]
        return [digest.title() if int(digest[0], 16) % 2 else "_" + digest for digest in digests]
    if column_type == "uuid":
        return [str(uuid.UUID(hashlib.md5(str(number).encode()).hexdigest())) for number in numbers]
    if column_type == "bigint":
        return [number * 10**15 for number in numbers]
    return list(numbers)


KINDS = [
    ("integer", None),
    ("bigint", None),
    ("text", None),
    ("text", LINGUISTIC),
    ("text", "C"),
    ("uuid", None),
]


@pytest.mark.parametrize(("column_type", "collation"), KINDS)
async def test_ranges_yield_every_song_once_in_the_order_of_the_column(
    open_catalogue: OpenCatalogue, column_type: str, collation: str | None
) -> None:
    catalogue = await open_catalogue(column_type, collation)
    catalogue.add_songs(ids_for(column_type, range(1, 100)))
    keys = await catalogue.new_keys()
    assert len(keys) >= 9
    assert await catalogue.ids_of(keys) == catalogue.ids_in_order()


@pytest.mark.parametrize(("column_type", "collation"), KINDS)
async def test_songs_that_come_later_lie_in_exactly_one_range_and_no_key_is_changed(
    open_catalogue: OpenCatalogue, column_type: str, collation: str | None
) -> None:
    catalogue = await open_catalogue(column_type, collation)
    catalogue.add_songs(ids_for(column_type, range(1, 50)))
    keys = await catalogue.new_keys()
    catalogue.add_songs(ids_for(column_type, range(50, 150)))
    added = await catalogue.new_keys(keys, range_size=3)
    assert not set(added) & set(keys)
    assert bool(added) == (column_type in ("integer", "bigint"))
    assert await catalogue.new_keys(keys + added) == []
    assert sorted(await catalogue.ids_of(keys + added), key=str) == sorted(catalogue.ids_in_order(), key=str)


@pytest.mark.parametrize("column_type", ["integer", "bigint", "text", "uuid"])
async def test_an_empty_catalogue_needs_no_range(open_catalogue: OpenCatalogue, column_type: str) -> None:
    catalogue = await open_catalogue(column_type)
    assert await catalogue.new_keys() == []
    assert await catalogue.new_keys([":" if catalogue.id_type != "integer" else "000000001-000000010"]) == []


async def test_keys_of_text_ids_are_boundaries_every_range_size_songs(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("text")
    catalogue.add_songs([f"s{number:02d}" for number in range(25)])
    assert await catalogue.new_keys() == [":s10", "s10:s20", "s20:"]
    assert await catalogue.new_keys(range_size=25) == [":"]


async def test_dense_ids_with_one_far_away_keep_plain_cells(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.add_songs([*range(1, 2001), 1_000_000])
    expected = ["000000001-000001000", "000001001-000002000", "000999001-001000000"]
    assert await catalogue.new_keys(range_size=1000) == expected


async def test_without_a_size_it_follows_the_number_of_songs(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.add_songs([1, 1001])
    keys = await catalogue.new_keys(range_size=None)
    assert keys == ["000000001-000001000", "000001001-000002000"]
    catalogue.add_songs([2001])
    assert await catalogue.new_keys(keys, range_size=None) == ["000002001-000003000"]


async def test_sparse_ids_get_cells_wider_by_the_smallest_power_of_ten(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("bigint")
    ids = [number * 10_000 for number in range(1, 1001)]
    catalogue.add_songs(ids)
    keys = await catalogue.new_keys(range_size=100)
    # In cells of 100, 1,000 or 10,000 the songs ask for 1,000 ranges; ten for each 100 songs are allowed.
    assert keys[:2] == ["000000001-000100000", "000100001-000200000"]
    assert len(keys) == 100
    assert await catalogue.ids_of(keys) == ids


async def test_the_ends_of_bigint_and_negative_ids_are_ids_like_others(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("bigint")
    ids = [SMALLEST_ID, SMALLEST_ID + 1, -1000, -999, -1, 0, 1, 1000, 1001, LARGEST_ID - 1, LARGEST_ID]
    catalogue.add_songs(ids)
    for range_size in (1, 1000, LARGEST_ID):
        keys = await catalogue.new_keys(range_size=range_size)
        assert await catalogue.ids_of(keys) == ids
        assert await catalogue.new_keys(keys) == []


async def test_beside_one_hand_made_range_over_all_ids_no_other_is_needed(
    open_catalogue: OpenCatalogue,
) -> None:
    catalogue = await open_catalogue("bigint")
    catalogue.add_songs([1, 2, 3])
    assert await catalogue.new_keys([SongIdRange("integer", SMALLEST_ID, LARGEST_ID).key]) == []


async def test_smallint_ids_are_integers(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.execute("alter table songs alter column song_id type smallint")
    catalogue.add_songs([-32768, 1, 32767])
    keys = await catalogue.new_keys()
    assert await catalogue.ids_of(keys) == [-32768, 1, 32767]


@pytest.mark.parametrize("collation", [None, LINGUISTIC])
async def test_hostile_text_ids_work_everywhere(open_catalogue: OpenCatalogue, collation: str | None) -> None:
    catalogue = await open_catalogue("text", collation)
    catalogue.add_songs(HOSTILE_IDS)
    in_order = catalogue.ids_in_order()
    for range_size in (1, 3, 1000):
        keys = await catalogue.new_keys(range_size=range_size)
        assert await catalogue.ids_of(keys) == in_order
        assert await catalogue.new_keys(keys) == []
        assert max(map(len, keys)) < 2700
        async with catalogue.pool.connection() as connection:
            counted = [
                await range_counts(connection, SONGS, SongIdRange.from_key(key, "text")) for key in keys
            ]
            assert [
                song.song_id for song in await songs_without_row(connection, SONGS, "text", 100)
            ] == in_order
        assert sum(songs for songs, _ in counted) == len(HOSTILE_IDS)


@pytest.mark.parametrize("collation", [None, LINGUISTIC])
async def test_long_boundaries_are_cut_where_the_order_allows_it(
    open_catalogue: OpenCatalogue, collation: str | None
) -> None:
    catalogue = await open_catalogue("text", collation)
    apart = [f"{number}{'-long' * 40}" for number in range(1, 4)]
    alike = [f"9{'x' * 100}{number}" for number in range(1, 4)]
    catalogue.add_songs([*apart, *alike])
    keys = await catalogue.new_keys(range_size=1)
    bounds = [SongIdRange.from_key(key, "text").lower for key in keys]
    assert bounds == [None, apart[1][:64], apart[2][:64], alike[0][:64], alike[1], alike[2]]
    assert await catalogue.ids_of(keys) == catalogue.ids_in_order()


async def test_hand_made_text_keys_that_leave_ids_out_are_refused(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("text")
    with pytest.raises(InvalidPartitionKey, match="join up"):
        await catalogue.new_keys([":b", "c:"])


@pytest.mark.parametrize(("column_type", "collation"), KINDS)
async def test_only_songs_without_a_row_are_handed_out_and_counted(
    open_catalogue: OpenCatalogue, column_type: str, collation: str | None
) -> None:
    catalogue = await open_catalogue(column_type, collation)
    catalogue.add_songs(ids_for(column_type, range(1, 41)))
    in_order = catalogue.ids_in_order()
    with_row = [*in_order[::3], *in_order[10:25]]
    catalogue.add_rows(list(dict.fromkeys(with_row)))
    without_row = [song_id for song_id in in_order if song_id not in with_row]
    keys = await catalogue.new_keys()
    assert await catalogue.ids_of(keys) == without_row
    async with catalogue.pool.connection() as connection:
        counts = [
            await range_counts(connection, SONGS, SongIdRange.from_key(key, catalogue.id_type))
            for key in keys
        ]
        assert [
            song.song_id for song in await songs_without_row(connection, SONGS, catalogue.id_type, 5)
        ] == without_row[:5]
        assert await coverage(connection, SONGS) == (40, 40 - len(without_row))
        counted = sql.SQL("select count(*) from song_aboutness where {}")
        rows = [
            await (
                await connection.execute(
                    counted.format(within([SongIdRange.from_key(key, catalogue.id_type)]))
                )
            ).fetchone()
            for key in keys
        ]
        assert rows == [(with_row_,) for _, with_row_ in counts]
    assert [sum(column) for column in zip(*counts, strict=True)] == [40, 40 - len(without_row)]


@pytest.mark.parametrize(("column_type", "collation"), KINDS)
async def test_of_chosen_songs_those_without_a_row_are_handed_out(
    open_catalogue: OpenCatalogue, column_type: str, collation: str | None
) -> None:
    catalogue = await open_catalogue(column_type, collation)
    catalogue.add_songs(ids_for(column_type, range(1, 11)))
    in_order = catalogue.ids_in_order()
    catalogue.add_rows(in_order[2:4])
    gone = str(ids_for(column_type, [99])[0])
    chosen = [gone, *(str(song_id) for song_id in reversed(in_order[:6]))]
    async with catalogue.pool.connection() as connection:
        songs = await chosen_without_row(connection, SONGS, catalogue.id_type, chosen)
    assert [song.song_id for song in songs] == [*in_order[:2], *in_order[4:6]]


async def test_the_estimate_of_the_coverage_is_what_postgres_counted_last(
    open_catalogue: OpenCatalogue,
) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.add_songs(range(1, 401))
    catalogue.add_rows(range(1, 101))
    catalogue.execute("analyze songs, song_aboutness")
    async with catalogue.pool.connection() as connection:
        assert await estimated_coverage(connection, f"{SONGS} where title like '%' ;") == (400, 100)


async def test_pages_are_never_empty_and_hold_at_most_page_size_songs(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.add_songs(range(1, 31))
    catalogue.add_rows(range(6, 16))
    pages = await catalogue.pages("000000001-000000100", page_size=5)
    assert [[song.song_id for song in page] for page in pages] == [
        [1, 2, 3, 4, 5],
        [16, 17, 18, 19, 20],
        [21, 22, 23, 24, 25],
        [26, 27, 28, 29, 30],
    ]


async def test_a_row_written_while_pages_are_read_is_seen_by_the_next_page(
    open_catalogue: OpenCatalogue,
) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.add_songs(range(1, 11))
    seen: list[SongId] = []
    async for page in pages_without_row(catalogue.pool, SONGS, SongIdRange("integer", 1, 10), page_size=5):
        seen += [song.song_id for song in page]
        if seen == [1, 2, 3, 4, 5]:
            catalogue.add_rows([7, 8])
    assert seen == [1, 2, 3, 4, 5, 6, 9, 10]


async def test_no_transaction_is_open_while_a_page_is_worked_on(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.add_songs(range(1, 11))
    async for _ in pages_without_row(catalogue.pool, SONGS, SongIdRange("integer", 1, 10), page_size=5):
        states = catalogue.execute(
            "select distinct state from pg_stat_activity where pid <> pg_backend_pid()"
            " and datname = current_database()"
        )
        assert states == [("idle",)]


async def test_repetitions_of_a_join_and_missing_words_do_no_harm(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.execute(
        "insert into songs values (1, null, null), (2, 'two', 'b'), (3, '', 'c'), (4, 'four', 'd')"
    )
    repeated = "select song_id, title, artist from songs cross join generate_series(1, 3)"
    repeated += " union all select null, 'no id', 'of an outer join'"
    pages = await catalogue.pages("000000001-000000010", page_size=2, songs_query=repeated)
    assert pages == [[Song(1, "", ""), Song(2, "two", "b")], [Song(3, "", "c"), Song(4, "four", "d")]]
    async with catalogue.pool.connection() as connection:
        assert await new_ranges(connection, repeated, [], 1000) == ["000000001-000001000"]
        assert await coverage(connection, repeated) == (4, 0)
        assert len(await songs_without_row(connection, repeated, "integer", 10)) == 4


@pytest.mark.parametrize(
    "end",
    ["", ";", " ;\n", "-- the end", ";-- the end", "; /* the\nend */ ;", "/* ; */", " where name <> ';--'"],
)
async def test_a_songs_query_may_end_and_be_written_as_people_write_it(
    open_catalogue: OpenCatalogue, end: str
) -> None:
    catalogue = await open_catalogue("integer")
    catalogue.add_songs([1, 2])
    query = """
        select id as song_id, name as title, coalesce(nullif('{100 %}', ''), '%s') as artist -- 10% of {it}
        from (select song_id as id, title as name from songs where song_id % 5 = 1 and title like '%1%') mine
    """
    pages = await catalogue.pages(
        "000000001-000000010", songs_query=query.strip().replace("mine", f"mine {end}")
    )
    assert pages == [[Song(1, "title of 1", "{100 %}")]]


@pytest.mark.parametrize(
    ("column_type", "id_type"),
    [
        ("smallint", "integer"),
        ("integer", "integer"),
        ("bigint", "integer"),
        ("text", "text"),
        ("varchar(40)", "text"),
        ("char(10)", "text"),
        ("uuid", "uuid"),
    ],
)
async def test_the_id_type_is_that_of_the_querys_own_column(
    open_catalogue: OpenCatalogue, column_type: str, id_type: IdType
) -> None:
    catalogue = await open_catalogue("integer")
    async with catalogue.pool.connection() as connection:
        query = f"select null::{column_type} as song_id, title, artist from songs"
        assert await id_type_of(connection, query) == id_type


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select song_id, title from songs", "column s.artist does not exist"),
        ("select id, title, artist from songs", "does not exist"),
        ("select song_id, title, artist from no_such_table", "no_such_table"),
        ("select song_id, title, artist frm songs", "syntax error"),
        ("select 1; drop table songs", "more than one statement"),
        ("", "syntax error"),
        ("delete from songs returning song_id, title, artist", "syntax error"),
        ("select song_id::numeric, title, artist from songs", "numeric"),
        ("select now() as song_id, title, artist from songs", "timestamptz"),
    ],
)
async def test_a_catalogue_that_cannot_be_read_is_a_fault_that_names_the_setting(
    open_catalogue: OpenCatalogue, query: str, said: str
) -> None:
    catalogue = await open_catalogue("integer")
    with pytest.raises(FatalError, match="ABOUTNESS_SONGS_QUERY") as caught:
        async with catalogue.pool.connection() as connection:
            await id_type_of(connection, query)
    assert said in str(caught.value)


@pytest.mark.parametrize(("column_type", "collation"), KINDS)
async def test_a_range_is_read_by_index_alone_even_without_statistics_of_the_rows(
    open_catalogue: OpenCatalogue, column_type: str, collation: str | None
) -> None:
    catalogue = await open_catalogue(column_type, collation)
    ids = ids_for(column_type, range(1, 5001))
    catalogue.add_songs(ids)
    catalogue.add_rows(ids[::2])
    catalogue.execute("analyze songs")
    keys = await catalogue.new_keys(range_size=100)

    async def whole_table_reads() -> object:
        async with catalogue.pool.connection() as connection:
            await connection.execute("select pg_stat_force_next_flush()")
        return catalogue.execute("select relname, seq_scan from pg_stat_user_tables order by relname")

    before = await whole_table_reads()
    await catalogue.pages(keys[len(keys) // 2], page_size=50)
    async with catalogue.pool.connection() as connection:
        await range_counts(connection, SONGS, SongIdRange.from_key(keys[0], catalogue.id_type))
    assert await whole_table_reads() == before


@pytest.mark.parametrize("pooler", ["", "&pgbouncer=true"])
async def test_the_schema_of_a_prisma_url_is_where_tables_are_looked_up(
    make_service: Any, pooler: str
) -> None:
    service = make_service(id_type="integer")
    with psycopg.connect(service.admin_url) as connection:
        connection.execute("set event_triggers = off")
        connection.execute('create schema "My ""Music"""')
        connection.execute(
            'create table "My ""Music""".songs as select 7 as song_id, \'t\' as title, \'a\' as artist'
        )
        connection.execute('grant usage on schema "My ""Music""" to public')
        connection.execute('grant select on "My ""Music""".songs to public')
    separator = "&" if "?" in service.url else "?"
    url = service_conninfo(f"{service.url}{separator}schema=My%20%22Music%22{pooler}")
    async with ServicePool(url, 1) as pool:
        for _ in range(2):
            async with pool.connection() as connection:
                assert [
                    song.song_id for song in await songs_without_row(connection, SONGS, "integer", 10)
                ] == [7]
                path = await (await connection.execute("show search_path")).fetchone()
                assert path is not None
                assert path[0].startswith('"My ""Music"""')
        async with AsyncConnectionPool.connection(pool) as connection:  # past what each transaction sets
            path = await (await connection.execute("show search_path")).fetchone()
            assert path is not None
            assert ("Music" in path[0]) == (not pooler)


async def test_a_service_that_does_not_answer_is_a_fault_that_shows_no_password(make_service: Any) -> None:
    url = make_service(id_type="integer").url
    async with open_service(service_conninfo(url), 1) as pool, pool.connection() as connection:
        assert await id_type_of(connection, SONGS) == "integer"
    refused = make_conninfo(url, dbname="no_such_database", password="s3cret")
    parameters = conninfo_to_dict(refused)
    nowhere = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parameters)
    with pytest.raises(FatalError, match="DATABASE_URL") as caught:
        async with open_service(service_conninfo(nowhere), 1):
            pass
    assert "s3cret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert "s3cret" not in str(caught.value.__cause__)


async def test_the_whole_catalogue_is_cut_into_ranges_and_read(open_catalogue: OpenCatalogue) -> None:
    if not CATALOGUE.exists():
        pytest.skip(f"{CATALOGUE.name} is not beside this repository, in ../shared/data")
    catalogue = await open_catalogue("integer")
    with (
        gzip.open(CATALOGUE, "rt", encoding="utf-8", newline="") as file,
        psycopg.connect(catalogue.admin_url) as connection,
        connection.cursor() as cursor,
        cursor.copy("copy songs (song_id, title, artist) from stdin") as writer,
    ):
        for row in csv.DictReader(file):
            writer.write_row((row["song_id"], row["title"], row["artist"]))
    keys = await catalogue.new_keys(range_size=1000)
    assert (len(keys), keys[0], keys[-1]) == (114, "000000001-000001000", "000113001-000114000")
    pages = await catalogue.pages(keys[57], page_size=1000)
    assert [song.song_id for song in pages[0]] == list(range(57_001, 58_001))

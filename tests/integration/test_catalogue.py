"""The catalogue on a real Postgres: every song of every kind of id is read exactly once, in the column's order."""

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
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.catalogue import (
    coverage,
    id_type_of,
    new_ranges,
    pages_without_row,
    range_counts,
    songs_without_row,
)
from aboutness_assets.database.service_url import service_conninfo
from aboutness_assets.errors import GlobalFault, InvalidPartitionKey
from aboutness_assets.partitions import LARGEST_ID, SMALLEST_ID, IdType, SongIdRange
from aboutness_assets.songs import Song, SongId

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
    "x" * 2000,
    "x" * 2001,
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
        with psycopg.connect(self.admin_url) as connection:
            cursor = connection.execute(sql.SQL(statement))
            return cursor.fetchall() if cursor.description else []

    def ids_in_order(self) -> list[SongId]:
        return [
            song_id if isinstance(song_id, int) else str(song_id)
            for (song_id,) in self.execute("select song_id from songs order by song_id")
        ]

    async def new_keys(self, existing: Sequence[str] = (), range_size: int = 10) -> list[str]:
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
async def open_catalogue(make_service: Any) -> AsyncIterator[OpenCatalogue]:
    """``await open_catalogue(column_type, collation=None)`` gives an empty Catalogue."""
    pools: list[AsyncConnectionPool[AsyncConnection]] = []

    async def opened(column_type: str, collation: str | None = None) -> Catalogue:
        service = make_service(id_type=column_type, songs=[])
        pool = service_conninfo(service.url).pool(max_size=2)
        await pool.open()
        pools.append(pool)
        id_type: IdType = "text" if column_type == "text" else "uuid" if column_type == "uuid" else "integer"
        catalogue = Catalogue(service.admin_url, pool, id_type)
        if collation is not None:
            name = linguistic_collation(catalogue) if collation == LINGUISTIC else collation
            for table in ("songs", "song_aboutness"):
                catalogue.execute(f'alter table {table} alter column song_id type text collate "{name}"')
        return catalogue

    yield opened
    for pool in pools:
        await pool.close()


def linguistic_collation(catalogue: Catalogue) -> str:
    """A collation that puts a < B < c, unlike code points; skips where the server has none."""
    known = catalogue.execute(
        "select collname from pg_collation where collprovider in ('i', 'c') and collisdeterministic"
        " and collencoding in (-1, 6) order by collname <> 'und-x-icu'"
    )
    for (name,) in known:
        (found,) = catalogue.execute(f"""select 'a' < 'B' collate "{name}" and 'B' < 'c' collate "{name}" """)
        if found[0]:
            return str(name)
    pytest.skip("this Postgres has no collation but code point order (built without ICU, and no locale installed)")


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


KINDS = [("integer", None), ("bigint", None), ("text", None), ("text", LINGUISTIC), ("text", "C"), ("uuid", None)]


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
async def test_songs_that_come_later_lie_in_exactly_one_range_and_laying_again_only_adds(
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
async def test_an_empty_catalogue_lays_nothing(open_catalogue: OpenCatalogue, column_type: str) -> None:
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


async def test_sparse_ids_get_cells_wider_by_a_power_of_ten(open_catalogue: OpenCatalogue) -> None:
    catalogue = await open_catalogue("bigint")
    ids = [number * 10_000 for number in range(-500, 500)]
    catalogue.add_songs(ids)
    keys = await catalogue.new_keys(range_size=100)
    widths = {key: SongIdRange.from_key(key, "integer") for key in keys}
    # 1,000 cells of 100 and of 1,000 and of 10,000 are too many for ten ranges of songs, 100 are not.
    assert len(keys) == 101
    assert {int(found.upper or 0) - int(found.lower or 0) + 1 for found in widths.values()} == {100_000}
    assert await catalogue.ids_of(keys) == ids

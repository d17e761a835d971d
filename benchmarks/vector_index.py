"""What indexes on the vectors cost while the table is filled, and what it takes to build them afterwards.

The project's own INSERT, 500 rows per transaction by four writers, of vectors of 1,536 numbers that lie in
clusters, as those of texts do. Nothing else is measured: no endpoint, no embedding.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import psycopg
from psycopg import AsyncConnection

from aboutness_assets.database.service.aboutness_table import AboutnessTable, Row
from aboutness_assets.database.service.connection import ServicePool, open_service
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.database.url import service_conninfo
from aboutness_assets.domain.songs import Aboutness
from benchmarks.environment import Environment, environment
from benchmarks.result import Result, Table

ROWS = 10_000
ROUNDS = 3
WRITERS = 4
ROWS_PER_TRANSACTION = 500
DIMENSION = 1_536
CLUSTERS = 200

COLUMNS = ("emotions_vector", "moments_vector")

LOG = logging.getLogger("vector_index")


@dataclass(frozen=True, slots=True)
class Filled:
    """One table: seconds to insert the rows, and to build both indexes afterwards (0: not done)."""

    insert_seconds: float
    build_seconds: float


def run() -> Result:
    """Fill the table in turn without indexes and with both; build them after a filling without."""
    rows = _rows()
    without: list[Filled] = []
    present: list[Filled] = []
    with environment() as made:
        for _ in range(ROUNDS):
            without.append(_fill(made, rows, indexed=False))
            present.append(_fill(made, rows, indexed=True))
    return _result(without, present)


def _rows() -> list[Row]:
    random = np.random.default_rng(1)
    centers = random.normal(size=(CLUSTERS, DIMENSION)).astype(np.float32)
    about = Aboutness("Quiet pride after a long struggle.", "high", "Walking home in the rain.", "low")

    def vector() -> np.ndarray:
        near = centers[random.integers(CLUSTERS)] + random.normal(size=DIMENSION).astype(np.float32)
        return np.asarray(near / np.linalg.norm(near), dtype=np.float32)

    return [Row(number, about, vector(), vector()) for number in range(1, ROWS + 1)]


def _fill(made: Environment, rows: Sequence[Row], *, indexed: bool) -> Filled:
    _administrate(
        made, "truncate song_aboutness", *(f"drop index if exists {name}_index" for name in COLUMNS)
    )
    if indexed:
        _build(made)
    insert_seconds = asyncio.run(_insert(made, rows))
    return Filled(insert_seconds, 0.0 if indexed else _build(made))


async def _insert(made: Environment, rows: Sequence[Row]) -> float:
    async with await AsyncConnection.connect(made.service_url) as connection:
        table = await read_table(connection)
    parts = [rows[first : first + ROWS_PER_TRANSACTION] for first in range(0, ROWS, ROWS_PER_TRANSACTION)]
    async with open_service(service_conninfo(made.service_url), WRITERS) as pool:
        began = time.monotonic()
        await asyncio.gather(*(_write(table, pool, parts[number::WRITERS]) for number in range(WRITERS)))
        return time.monotonic() - began


async def _write(table: AboutnessTable, pool: ServicePool, parts: Sequence[Sequence[Row]]) -> None:
    for part in parts:
        inserted = await table.insert(pool, part, LOG)
        assert inserted.written == len(part), inserted


def _build(made: Environment) -> float:
    began = time.monotonic()
    _administrate(
        made,
        *(
            f"create index {name}_index on song_aboutness using hnsw ({name} vector_cosine_ops)"
            for name in COLUMNS
        ),
    )
    return time.monotonic() - began


def _administrate(made: Environment, *statements: str) -> None:
    with psycopg.connect(made.admin_url) as admin:
        admin.execute("set local event_triggers = off")
        for statement in statements:
            admin.execute(statement.encode())


def _result(without: Sequence[Filled], present: Sequence[Filled]) -> Result:
    seconds = statistics.median(each.insert_seconds for each in without)
    build = statistics.median(each.build_seconds for each in without)
    with_both = statistics.median(each.insert_seconds for each in present)
    factor = with_both / seconds
    saved = with_both / (seconds + build)
    return Result(
        "vector_index",
        "Indexes on the vectors",
        f"{ROWS:,} rows with two vectors of {DIMENSION:,} numbers, {ROWS_PER_TRANSACTION} per transaction "
        f"by {WRITERS} writers; medians of {ROUNDS} rounds, side by side. With an HNSW index (pgvector, as "
        f"shipped) on each vector column filling takes {factor:.0f} times as long. Building both afterwards "
        f"takes {build:.0f} s, so filling first and building then is {saved:.1f} times as fast in all.",
        [
            Table(
                "Filling, and what it takes to have both indexes in the end",
                ["indexes", "rows/s while filling", "filling s", "building s", "in all s"],
                [
                    ["present while filling", ROWS / with_both, with_both, 0, with_both],
                    ["built afterwards", ROWS / seconds, seconds, build, seconds + build],
                ],
                "An index that is present costs more per row the larger it is; building needs "
                "maintenance_work_mem for all vectors to stay this quick.",
            )
        ],
        data={"without": [asdict(each) for each in without], "present": [asdict(each) for each in present]},
    )

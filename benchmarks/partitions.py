"""What partitions cost Dagster: reading their keys, their statuses, the page in a browser, its database.

Instances with 100, 1,000 and 10,000 partitions, each of them materialized once with the metadata of a run. No
song is filled: Dagster alone is measured, with its webserver, its daemon and Chromium.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg
import psycopg
from playwright.sync_api import expect, sync_playwright

from aboutness_assets.domain.id_ranges import integer_ranges, uncovered_intervals
from aboutness_assets.orchestration.metadata import materialization_metadata
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.pipeline.report import Report
from aboutness_local.endpoint_process import EndpointProcess
from aboutness_local.postgres import EmbeddedPostgres
from benchmarks.result import Result, Table
from tests.support.dagster_project import ASSET, DagsterDev, DagsterProject
from tests.support.service_database import make_service
from tests.support.stand_in import StandIn

SIZES = (100, 1_000, 10_000)
RANGE_SIZE = 1_000
TURNS = 5
PAGE_SECONDS = 300

_STATUSES = """{ assetNodeOrError(assetKey: {path: ["song_aboutness"]}) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } }
  partitionKeys } } }"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, and kilobytes of Dagster's database for each partition."""

    add: float
    read_keys: float
    statuses: float
    page: float
    kilobytes: float


def run() -> Result:
    """Measure one instance after the other."""
    with tempfile.TemporaryDirectory(prefix="aboutness-partitions-") as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres", {"max_connections": "200"})
        process = EndpointProcess(Path(directory) / "endpoint", dimension=8).start()
        server.start()
        try:
            stand_in = StandIn(process)
            costs = {size: _measure(size, server, stand_in, Path(directory)) for size in SIZES}
        finally:
            process.reset()
            server.reset()
    return _result(costs)


def _measure(partitions: int, server: EmbeddedPostgres, stand_in: StandIn, directory: Path) -> Cost:
    keys = [
        each.key
        for each in integer_ranges(
            uncovered_intervals([]), range(1, partitions * RANGE_SIZE, RANGE_SIZE), RANGE_SIZE
        )
    ]
    service = make_service(server, songs=[(1, "a title", "an artist")])
    project = DagsterProject.create(directory / str(partitions), service, stand_in)
    metadata = materialization_metadata(
        Report(songs_in_range=RANGE_SIZE, songs_written=RANGE_SIZE), "a model", "another"
    )
    with project.instance() as instance:
        add = _seconds(lambda: instance.add_dynamic_partitions(SONG_ID_RANGES, keys))
        read_keys = _median(lambda: instance.get_dynamic_partitions(SONG_ID_RANGES))
        before = _bytes(service.ops_url)
        for key in keys:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(ASSET, partition=key, metadata=metadata)
            )
        kilobytes = (_bytes(service.ops_url) - before) / 1024 / partitions
    with project.dev() as dev:
        dev.graphql(_STATUSES)  # fills Dagster's cache of statuses, as the first person does
        statuses = _median(lambda: dev.graphql(_STATUSES))
        page = _page_seconds(dev, partitions)
    print(f"  {partitions:,} partitions: the page took {page:.1f} s", file=sys.stderr, flush=True)
    return Cost(add, read_keys, statuses, page, kilobytes)


def _page_seconds(dev: DagsterDev, partitions: int) -> float:
    """Median seconds until the tab Partitions says how many are materialized."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox"]
        )
        page = browser.new_page()

        def load() -> None:
            page.goto(f"{dev.url}/assets/song_aboutness?view=partitions")
            expect(page.get_by_text(f"Materialized ({partitions:,})")).to_be_visible(
                timeout=1000 * PAGE_SECONDS
            )

        load()
        seconds = _median(load)
        browser.close()
    return seconds


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_seconds(work) for _ in range(TURNS))


def _bytes(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def _result(costs: dict[int, Cost]) -> Result:
    smallest, largest = costs[SIZES[0]], costs[SIZES[-1]]
    return Result(
        name="partitions",
        title="Partitions in Dagster",
        summary=(
            "Dagster's own work for partitions, each materialized once with the metadata of a run: "
            "`dagster dev` on Postgres, and Chromium. The page is the tab Partitions, from its address to "
            f"the number of materialized partitions. From {SIZES[0]:,} to {SIZES[-1]:,} partitions the page "
            f"takes **{largest.page / smallest.page:.1f} times** as long."
        ),
        tables=[
            Table(
                title="Dagster's work by the number of partitions",
                columns=["partitions", "add s", "read keys s", "statuses s", "page s", "KB per partition"],
                rows=[
                    [f"{size:,}", of.add, of.read_keys, of.statuses, of.page, of.kilobytes]
                    for size, of in costs.items()
                ],
            )
        ],
        data={str(size): asdict(of) for size, of in costs.items()},
    )

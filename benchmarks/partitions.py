"""What partitions and runs cost Dagster: reading keys and statuses, pages in a browser, runs, both databases.

Instances with 100, 1,000 and 10,000 partitions, each of them materialized once with the metadata of a run.
Every partition is a range with one song, which has its row: runs find nothing to do, so what is left is their
own overhead. In one more instance a run fills ranges of 1,000 songs, for what these leave in our own schema.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg
import psycopg

from aboutness_assets.domain.id_ranges import integer_ranges, uncovered_intervals
from aboutness_assets.orchestration.metadata import materialization_metadata
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.pipeline.report import Report
from aboutness_local.postgres import EmbeddedPostgres
from benchmarks.dagster_pages import TURNS, Pages, measure_pages
from benchmarks.dagster_servers import dagster_servers
from benchmarks.result import Result, Table
from tests.support.dagster_project import ASSET, DagsterDev, DagsterProject, poll
from tests.support.service_database import make_service
from tests.support.stand_in import StandIn

SIZES = (100, 1_000, 10_000)
RANGE_SIZE = 1_000
REPORTED = 50
"""Partitions whose materialization Dagster is told of; those of the others are copies of its rows."""

SINGLE_RUNS = 3
RANGES_OF_A_RUN = 60
"""ABOUTNESS_PARTITIONS_PER_RUN, as shipped."""

FILLED_RANGES = 10
RUN_SECONDS = 600

_STATUSES = """{ assetNodeOrError(assetKey: {path: ["song_aboutness"]}) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } }
  partitionKeys } } }"""

ROWS = """
insert into song_aboutness (song_id, emotions_text, emotions_confidence, moments_text, moments_confidence,
                            emotions_vector, moments_vector)
select song_id, 'joy', 'high', 'a morning', 'high', '[1,2,3,4,5,6,7,8]', '[1,2,3,4,5,6,7,8]' from songs
"""

# To report each of 10,000 takes many minutes.
_COPY = """
insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
select run_id, replace(event, %(first)s, key), dagster_event_type, timestamp, step_key, asset_key, key
from event_logs, unnest(%(keys)s::text[]) with ordinality as keys (key, number)
where partition = %(first)s order by number
"""

# Ticks of sensors grow with time, not with runs, and are deleted after some days (dagster.yaml).
_BYTES = """
select schemaname = 'aboutness_ops' as ours, relname, pg_total_relation_size(relid)
from pg_stat_user_tables where relname <> 'job_ticks'
"""


@dataclass(frozen=True, slots=True)
class RunCost:
    """One run. Seconds from its creation until its step began, and until its end; its events in the log."""

    ranges: int
    until_step: float
    until_end: float
    events: int
    dagster_bytes: int
    our_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, and kilobytes of Dagster's database for each partition that was materialized."""

    add: float
    read_keys: float
    statuses: float
    kilobytes: float
    pages: Pages
    single_run: RunCost
    run: RunCost


@dataclass(frozen=True, slots=True)
class Filled:
    """A run that filled ranges: what it was, and the bytes that it left by table of our own schema."""

    songs: int
    cost: RunCost
    tables: dict[str, int]


def run() -> Result:
    """Measure one instance after the other."""
    with dagster_servers() as servers:
        bench = _Bench(*servers)
        costs = {size: bench.measure(size) for size in SIZES}
        filled = bench.fill()
    return _result(costs, filled)


@dataclass(frozen=True, slots=True)
class _Bench:
    server: EmbeddedPostgres
    stand_in: StandIn
    directory: Path

    def measure(self, partitions: int) -> Cost:
        """Everything in an instance with so many partitions."""
        keys = partition_keys(partitions)
        service = make_service(self.server, songs=songs_of(partitions), arrange=ROWS)
        project = DagsterProject.create(self.directory / str(partitions), service, self.stand_in)
        metadata = materialization_metadata(
            Report(songs_in_range=RANGE_SIZE, songs_written=RANGE_SIZE), "a model", "another"
        )
        with project.instance() as instance:
            add = _seconds(lambda: instance.add_dynamic_partitions(SONG_ID_RANGES, keys))
            read_keys = _median(lambda: instance.get_dynamic_partitions(SONG_ID_RANGES))
            before = _sizes(service.ops_url)
            first, copied, last = keys[:1], keys[1:-REPORTED], keys[-REPORTED:]
            for key in [*first, *last]:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(ASSET, partition=key, metadata=metadata)
                )
                if key in first:
                    with psycopg.connect(service.ops_url) as connection:
                        connection.execute(_COPY, {"first": key, "keys": copied})
            kilobytes = _grown(before, _sizes(service.ops_url), ours=False) / 1024 / partitions
        with project.dev() as dev:
            dev.graphql(_STATUSES)  # fills Dagster's cache of statuses, as the first person does
            statuses = _median(lambda: dev.graphql(_STATUSES))
            pages = measure_pages(dev.url, keys)
            _say(f"{partitions:,} partitions: {pages}")
            _run(dev, keys[:1])
            single = _cost(dev, [[key] for key in keys[:SINGLE_RUNS]])
            many = _cost(dev, [keys[:RANGES_OF_A_RUN]])
            _say(f"{partitions:,} partitions: {single}, {many}")
        return Cost(add, read_keys, statuses, kilobytes, pages, single, many)

    def fill(self) -> Filled:
        """A run that fills ranges of 1,000 songs each."""
        songs = FILLED_RANGES * RANGE_SIZE
        service = make_service(
            self.server,
            songs=[(number, f"title {number}", f"artist {number}") for number in range(1, songs + 1)],
        )
        project = DagsterProject.create(self.directory / "filled", service, self.stand_in)
        with project.instance() as instance:
            instance.add_dynamic_partitions(SONG_ID_RANGES, partition_keys(FILLED_RANGES))
        with project.dev() as dev:
            _run(dev, project.add_partitions("000999001-001000000"))
            before = _sizes(service.ops_url)
            cost = _cost(dev, [partition_keys(FILLED_RANGES)])
            after = _sizes(service.ops_url)
        assert project.sql("select count(*) from song_aboutness") == [(songs,)]
        tables = {name: size - before.get((ours, name), 0) for (ours, name), size in after.items() if ours}
        return Filled(songs, cost, {name: size for name, size in tables.items() if size})


def _cost(dev: DagsterDev, runs: list[list[str]]) -> RunCost:
    """Medians of runs over as many ranges each; the bytes are those of all, by run."""
    url = dev.project.service.ops_url
    before = _sizes(url)
    done = [_run(dev, keys) for keys in runs]
    after = _sizes(url)
    with dev.project.instance() as instance:
        events = [[entry for entry in instance.all_logs(record.dagster_run.run_id)] for record in done]
    began = [
        next(
            entry.timestamp for entry in of_run if entry.dagster_event_type is dg.DagsterEventType.STEP_START
        )
        for of_run in events
    ]
    created = [record.create_timestamp.timestamp() for record in done]
    ended = [record.end_time or 0.0 for record in done]
    return RunCost(
        ranges=len(runs[0]),
        until_step=statistics.median(b - c for b, c in zip(began, created, strict=True)),
        until_end=statistics.median(e - c for e, c in zip(ended, created, strict=True)),
        events=round(statistics.median(map(len, events))),
        dagster_bytes=_grown(before, after, ours=False) // len(runs),
        our_bytes=_grown(before, after, ours=True) // len(runs),
    )


def _run(dev: DagsterDev, keys: Sequence[str]) -> dg.RunRecord:
    """Launch a run over these ranges, several as a backfill, and wait for its end."""
    if len(keys) == 1:
        run_id = dev.launch_range(keys[0])
    else:
        of_backfill = {"dagster/backfill": dev.launch_backfill(list(keys))}
        runs = poll(lambda: dev.runs(of_backfill), RUN_SECONDS, "the daemon to create the run")
        run_id = runs[0].run_id
    dev.wait_for(run_id, "SUCCESS", RUN_SECONDS)
    with dev.project.instance() as instance:
        [record] = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    return record


def partition_keys(partitions: int) -> list[str]:
    """The keys of so many ranges of RANGE_SIZE ids, from 1 on."""
    ids = range(1, partitions * RANGE_SIZE, RANGE_SIZE)
    return [each.key for each in integer_ranges(uncovered_intervals([]), ids, RANGE_SIZE)]


def songs_of(partitions: int) -> list[tuple[int, str, str]]:
    """One song for each of these ranges."""
    return [(1 + RANGE_SIZE * number, "a title", "an artist") for number in range(partitions)]


def _sizes(url: str) -> dict[tuple[bool, str], int]:
    """Bytes of each table with its indexes, by whether it is in our own schema and its name."""
    with psycopg.connect(url) as connection:
        return {(ours, name): int(size) for ours, name, size in connection.execute(_BYTES).fetchall()}


def _grown(before: dict[tuple[bool, str], int], after: dict[tuple[bool, str], int], *, ours: bool) -> int:
    return sum(size - before.get(table, 0) for table, size in after.items() if table[0] == ours)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_seconds(work) for _ in range(TURNS))


def _result(costs: dict[int, Cost], filled: Filled) -> Result:
    smallest, largest = costs[SIZES[0]], costs[SIZES[-1]]
    slower = largest.pages.partitions / smallest.pages.partitions
    return Result(
        name="partitions",
        title="Partitions and runs in Dagster",
        summary=(
            "Dagster's own work for partitions, each materialized once with the metadata of a run: "
            "`dagster dev` on Postgres, and Chromium. Pages are measured from the address, or the click, to "
            "the numbers that they are opened for, after a first visit. All but the last "
            f"{REPORTED} materializations are copies of a row in the event log with another key. Runs find "
            f"nothing to do: every song has its row. From {SIZES[0]:,} to {SIZES[-1]:,} partitions the tab "
            f"Partitions takes **{slower:.1f} times** as long."
        ),
        tables=[
            Table(
                title="Seconds by the number of partitions",
                columns=[
                    "partitions",
                    "add",
                    "read keys",
                    "statuses",
                    "asset",
                    "tab Partitions",
                    "Materialize…",
                ],
                rows=[
                    [
                        f"{size:,}",
                        of.add,
                        of.read_keys,
                        of.statuses,
                        of.pages.overview,
                        of.pages.partitions,
                        of.pages.dialog,
                    ]
                    for size, of in costs.items()
                ],
                note="Materialize… is from the click until all partitions are selected in the dialog.",
            ),
            Table(
                title="A run without anything to do",
                columns=["partitions", "ranges", "s until its step", "s until its end", "events", "KB"],
                rows=[
                    [
                        f"{size:,}",
                        one.ranges,
                        one.until_step,
                        one.until_end,
                        one.events,
                        one.dagster_bytes / 1024,
                    ]
                    for size, of in costs.items()
                    for one in (of.single_run, of.run)
                ],
                note=(
                    "From the run's creation, its wait in the queue included. KB: growth of Dagster's "
                    "tables; "
                    f"medians of {SINGLE_RUNS} runs of one range, one run of {RANGES_OF_A_RUN}. "
                    "One materialized partition takes "
                    + ", ".join(f"{of.kilobytes:.1f} KB with {size:,}" for size, of in costs.items())
                    + "."
                ),
            ),
            Table(
                title=f"A run that fills {FILLED_RANGES} ranges, {filled.songs:,} songs: bytes per song",
                columns=["table", "bytes per song"],
                rows=[
                    *_bytes_per_song(filled),
                    ["all of aboutness_ops", filled.cost.our_bytes / filled.songs],
                    ["Dagster's tables", filled.cost.dagster_bytes / filled.songs],
                ],
                note=(
                    "With indexes. chat_request is trimmed to 30 days and 250,000 entries; the others stay. "
                    f"The run had {filled.cost.events} events."
                ),
            ),
        ],
        data={"partitions": {str(size): asdict(of) for size, of in costs.items()}, "filled": asdict(filled)},
    )


def _bytes_per_song(filled: Filled) -> list[list[str | float | int]]:
    return [[name, size / filled.songs] for name, size in sorted(filled.tables.items())]


def _say(progress: str) -> None:
    print(f"  {progress}", file=sys.stderr, flush=True)

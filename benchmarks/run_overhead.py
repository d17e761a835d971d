"""What a run that finds nothing to do costs in CPU, by its ranges and by the number of partitions there are.

The run is executed in this process, so Dagster's import and the start of a process are not in it.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_local.postgres import EmbeddedPostgres
from benchmarks.cpu_seconds import CpuSeconds
from benchmarks.dagster_servers import dagster_servers
from benchmarks.partitions import RANGES_OF_A_RUN, ROWS, partition_keys, songs_of
from benchmarks.result import Result, Table
from tests.support.dagster_project import DagsterProject, range_tags
from tests.support.service_database import make_service
from tests.support.stand_in import StandIn

SIZES = (100, 10_000)
TURNS = 5

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class Overhead:
    """Median CPU seconds of a run, of its process and of both with Postgres; its events in the log."""

    process: float
    with_postgres: float
    events: int


def run() -> Result:
    """Measure runs of one range and of many, where there are few partitions and many."""
    with dagster_servers() as (server, stand_in, directory):
        measured = {
            (size, ranges): overhead
            for size in SIZES
            for ranges, overhead in _measure(size, server, stand_in, directory).items()
        }
    return _result(measured)


def _measure(
    partitions: int, server: EmbeddedPostgres, stand_in: StandIn, directory: Path
) -> dict[int, Overhead]:
    keys = partition_keys(partitions)
    service = make_service(server, songs=songs_of(partitions), arrange=ROWS)
    project = DagsterProject.create(directory / str(partitions), service, stand_in)
    postmaster = server.postmaster_pid
    assert postmaster is not None
    # The definitions read the environment when they are loaded.
    with patch.dict(os.environ, project.environment), project.instance() as instance:
        from aboutness_assets.definitions import defs

        instance.add_dynamic_partitions(SONG_ID_RANGES, keys)
        runs = _Runs(instance, defs.resolve_job_def("song_aboutness_backfill"), CpuSeconds(postmaster))
        runs.overhead({"dagster/partition": keys[0]}, 1)  # looks at all rows, and counts every range
        return {
            1: runs.overhead({"dagster/partition": keys[1]}, TURNS),
            RANGES_OF_A_RUN: runs.overhead(range_tags(keys[0], keys[RANGES_OF_A_RUN - 1]), TURNS),
        }


@dataclass(frozen=True, slots=True)
class _Runs:
    instance: dg.DagsterInstance
    job: dg.JobDefinition
    cpu: CpuSeconds

    def overhead(self, tags: Mapping[str, str], turns: int) -> Overhead:
        """Execute so many runs with these tags."""
        process, total, events = zip(*(self._execute(tags) for _ in range(turns)), strict=True)
        return Overhead(statistics.median(process), statistics.median(total), max(events))

    def _execute(self, tags: Mapping[str, str]) -> tuple[float, float, int]:
        created = self.instance.create_run_for_job(
            job_def=self.job, tags={**self.job.tags, **tags}, run_config=_QUIET
        )
        process, total = self.cpu.of_this_process(), self.cpu.in_all()
        result = execute_run(InMemoryJob(self.job), created, self.instance)
        assert result.success
        process, total = self.cpu.of_this_process() - process, self.cpu.in_all() - total
        return process, total, len(self.instance.all_logs(created.run_id))


def _result(measured: Mapping[tuple[int, int], Overhead]) -> Result:
    one, many = measured[SIZES[-1], 1], measured[SIZES[-1], RANGES_OF_A_RUN]
    per_range = (many.with_postgres - one.with_postgres) / (RANGES_OF_A_RUN - 1)
    return Result(
        name="run_overhead",
        title="Overhead of a run",
        summary=(
            "Median CPU of a run of song_aboutness_backfill whose songs all have their row, its checks "
            f"included, executed in one process that has imported all: {TURNS} runs each. With "
            f"{SIZES[-1]:,} partitions a run of one range takes **{one.with_postgres:.1f} s** of CPU, and "
            f"**{per_range:.3f} s** more for each further range."
        ),
        tables=[
            Table(
                title="CPU seconds of a run",
                columns=["partitions", "ranges of the run", "process", "with Postgres", "events"],
                rows=[
                    [f"{size:,}", ranges, each.process, each.with_postgres, each.events]
                    for (size, ranges), each in measured.items()
                ],
            )
        ],
        data={f"{size}/{ranges}": asdict(each) for (size, ranges), each in measured.items()},
    )

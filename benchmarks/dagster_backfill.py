"""A catalogue filled by a backfill that Dagster's daemon runs, or by one bare process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import psycopg

from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from benchmarks.endpoint.process import PROJECT
from benchmarks.environment import Environment
from benchmarks.workers import workers

SECONDS_BETWEEN_LOOKS = 0.5
STEP_SECONDS = 120
"""For the daemon to start, or to see the backfill: it looks every 30 s."""

BACKFILL_SECONDS = 1800
STOP_SECONDS = 20

_LAUNCH = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""

_SEEN = "Evaluating asset backfill"
"""What the daemon's log says when it first sees a backfill."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill took, in seconds.

    waited: from the launch until the daemon saw it. filled: from then until every song had its row. ended:
    from then until its last run, with the checks, was over.
    """

    waited: float
    filled: float
    ended: float
    runs: int


def fill_in_a_bare_process(made: Environment) -> float:
    """Fill all ranges; seconds from the start of the process until every song had its row."""
    began = time.time()
    with workers(made, 1) as [worker]:
        assert worker.wait() == 0, "The run failed; see what it wrote above."
    assert _songs_without_row(made) == 0
    return _last_row_at(made) - began


def fill_with_dagster(made: Environment) -> Backfilled:
    """Launch a backfill over all ranges as the asset's page does, and wait for the end of its runs."""
    with tempfile.TemporaryDirectory(prefix="aboutness-dagster-") as directory:
        home = Path(directory)
        shutil.copy(PROJECT / "dagster.yaml", home)
        variables = {**made.variables(), "DAGSTER_HOME": directory}
        with patch.dict(os.environ, variables), dg.DagsterInstance.from_config(directory) as instance:
            keys = made.range_keys()
            instance.add_dynamic_partitions(SONG_ID_RANGES, keys)
            with _daemon(home / "daemon.log") as daemon:
                daemon.wait_until(lambda: "BACKFILL" in instance.get_daemon_heartbeats(), STEP_SECONDS)
                return _backfill(made, instance, keys, daemon)


@dataclass(frozen=True, slots=True)
class _Daemon:
    """Dagster's daemon; it starts the code server and, through it, the runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Look until it is so; fails with the end of the log after so many seconds, or when it has ended."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(SECONDS_BETWEEN_LOOKS)


@contextmanager
def _daemon(log: Path) -> Iterator[_Daemon]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_script("dagster-daemon"), "run", "-w", PROJECT / "workspace.yaml"],
            cwd=PROJECT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _Daemon(process, log)
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _backfill(
    made: Environment, instance: dg.DagsterInstance, keys: Sequence[str], daemon: _Daemon
) -> Backfilled:
    launched_at, backfill_id = _launch(instance, keys)
    daemon.wait_until(lambda: _SEEN in daemon.log.read_text(), STEP_SECONDS)
    seen_at = time.time()
    of_backfill = dg.RunsFilter(tags={"dagster/backfill": backfill_id})

    def over() -> bool:
        runs = instance.get_runs(of_backfill)
        failed = [run.run_id for run in runs if run.is_failure]
        assert not failed, f"Runs failed: {failed}. {daemon.log.read_text()[-3000:]}"
        return bool(runs) and all(run.is_finished for run in runs) and _songs_without_row(made) == 0

    daemon.wait_until(over, BACKFILL_SECONDS)
    ends = [record.end_time for record in instance.get_run_records(of_backfill)]
    return Backfilled(
        waited=seen_at - launched_at,
        filled=_last_row_at(made) - seen_at,
        ended=max(end for end in ends if end is not None) - seen_at,
        runs=len(ends),
    )


def _launch(instance: dg.DagsterInstance, keys: Sequence[str]) -> tuple[float, str]:
    """When the backfill was launched, in seconds since the epoch, and its id."""
    params = {"assetSelection": [{"path": ["song_aboutness"]}], "partitionNames": list(keys)}
    command = [_script("dagster-graphql"), "-w", "workspace.yaml", "-t", _LAUNCH]
    with tempfile.NamedTemporaryFile() as answer:
        subprocess.run(
            [*command, "-v", json.dumps({"params": params}), "-o", answer.name],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        launched = json.loads(Path(answer.name).read_text())["data"]["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    backfill = instance.get_backfill(launched["backfillId"])
    assert backfill is not None
    return backfill.backfill_timestamp, backfill.backfill_id


def _songs_without_row(made: Environment) -> int:
    return int(_one(made, "select (select count(*) from songs) - (select count(*) from song_aboutness)"))


def _last_row_at(made: Environment) -> float:
    """In seconds since the epoch."""
    return float(_one(made, "select extract(epoch from max(created_at)) from song_aboutness"))


def _one(made: Environment, query: str) -> Any:
    with psycopg.connect(made.admin_url) as admin:
        row = admin.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))

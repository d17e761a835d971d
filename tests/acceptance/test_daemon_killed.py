"""Everything that watches a run is killed during a backfill; after a restart the backfill succeeds."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from tests.support.catalogue_of_songs import real_songs
from tests.support.dagster_project import RANGE_START, DagsterDev, DagsterProject, poll
from tests.support.stand_in import StandIn

RANGES = ("000000001-000000050", "000000051-000000100", "000000101-000000150")
SONG_IDS = [*range(1, 21), *range(51, 71), *range(101, 121)]

BACKFILL_SECONDS = 150
"""The backfill daemon looks every 30 s, run_monitoring every 10 s."""


def processes_of(project: DagsterProject) -> set[int]:
    """Every running process that was started with the DAGSTER_HOME of this project."""
    mark = f"DAGSTER_HOME={project.home}".encode()
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in environment:
                found.add(int(process.name))
    return found


def worker_of(project: DagsterProject, run_id: str) -> int:
    with project.instance() as instance:
        [started] = instance.all_logs(run_id, of_type=dg.DagsterEventType.PIPELINE_START)
    worker: int | None = started.get_dagster_event().pid
    assert worker is not None
    return worker


def descendants(worker: int) -> set[int]:
    """A process and all its children."""
    try:
        children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    except OSError:
        return {worker}
    return {worker}.union(*(descendants(int(child)) for child in children))


def look(project: DagsterProject, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows of a query in our own database."""
    with psycopg.connect(project.service.ops_url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def times_asked(stand_in: StandIn) -> Counter[int]:
    """How many songs were asked for once, twice, and so on."""
    requests: list[dict[str, Any]] = stand_in.requests()["requests"]
    songs = Counter(
        (song["title"], song["artist"]) for request in requests for song in request.get("songs", ())
    )
    return Counter(songs.values())


@pytest.mark.soak
@pytest.mark.parametrize("worker_survives", [False, True])
def test_a_backfill_succeeds_after_daemon_and_code_servers_were_killed(
    make_project: Callable[..., DagsterProject],
    stand_in: StandIn,
    reliability_result: Callable[..., None],
    worker_survives: bool,
) -> None:
    project = make_project(
        real_songs(len(SONG_IDS), SONG_IDS), ABOUTNESS_RANGE_SIZE="50", ABOUTNESS_PARTITIONS_PER_RUN="1"
    )
    # A process that survives is still at work when the new daemon looks for it.
    stand_in.control({"latency_seconds": {"chat": 30 if worker_survives else 6}})

    def at_work(dev: DagsterDev) -> list[str]:
        """Both runs that may run at once; losing one that has not started takes minutes to notice."""
        asked = [request for request in stand_in.requests()["requests"] if request["route"] == "chat"]
        runs = dev.runs({"dagster/backfill": backfill})
        started = [run.run_id for run in runs if run.status.value == "STARTED"]
        return started if len(started) == 2 and len(asked) == 4 else []

    with ExitStack() as stack:
        dev = stack.enter_context(project.dev())
        poll(lambda: set(project.ranges()) == set(RANGES), 60, "the sensor to create the partitions")
        backfill = dev.launch_backfill(list(RANGES))
        running = poll(lambda: at_work(dev), BACKFILL_SECONDS, "a run to be at work")
        spared = set()
        if worker_survives:
            for run_id in running:
                spared |= descendants(worker_of(project, run_id))
        for process in processes_of(project) - spared:
            os.kill(process, signal.SIGKILL)
        stand_in.control({})
        [(killed_at,)] = look(project, "select clock_timestamp()")

        again = stack.enter_context(project.dev())

        def succeeded() -> set[str | None]:
            runs = again.runs({"dagster/backfill": backfill})
            return {run.tags.get(RANGE_START) for run in runs if run.status.value == "SUCCESS"}

        def nothing_runs() -> bool:
            return all(run.is_finished for run in again.runs({"dagster/backfill": backfill}))

        poll(lambda: succeeded() == set(RANGES), BACKFILL_SECONDS, "every range to have its successful run")
        poll(nothing_runs, BACKFILL_SECONDS, "no run to be left STARTED")
    assert project.sql("select count(*) from song_aboutness") == [(len(SONG_IDS),)]
    entries = look(
        project,
        "select outcome, cardinality(song_ids), answered_at < %s and settled_at > %s"
        " from aboutness_ops.chat_request",
        [killed_at, killed_at],
    )
    assert {outcome for outcome, _, _ in entries} <= {"used", "uncertain"}
    used = [by_a_later_run for outcome, _, by_a_later_run in entries if outcome == "used"]
    uncertain = [songs for outcome, songs, _ in entries if outcome == "uncertain"]
    asked = times_asked(stand_in)
    assert max(asked) <= 2
    assert asked[2] <= sum(uncertain)
    assert (not uncertain) == worker_survives
    reliability_result(
        kind="kill",
        where="daemon and code servers" if worker_survives else "daemon, code servers and runs",
        kills=1,
        answers_received=len(used),
        used=used.count(False),
        replayed=used.count(True),
        uncertain=len(uncertain),
        asked_twice=max(0, asked[2] - sum(uncertain)),
    )

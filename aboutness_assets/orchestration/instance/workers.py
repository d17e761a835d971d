"""Launches runs on several hosts: Dagster's own launcher, which picks a code server per run."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._serdes import ConfigurableClassData

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.instance.run_launcher import WatchedRunLauncher

CONNECT_SECONDS = 2.0
"""A host that takes no connection for so long is silent."""

SILENT_SECONDS = 6.0
"""After so much silence the runs of a host are given up; a moment without network costs nothing."""

ANSWER_HOLDS_SECONDS = 1.0
"""For so long nobody asks again, so that the runs of a silent host wait for it once, not one by one."""

START_SECONDS = 15
"""For so long a worker's answer to the start of a run is awaited: the whole queue waits with it."""

STOPPING_SECONDS = 10.0
"""For so long a worker that refused a run because it is being stopped is given no other."""


class WorkersRunLauncher(WatchedRunLauncher):
    """Starts each run on the worker that has the fewest of those that can be reached.

    A worker is a host with a code server (``dagster api grpc``), ``host:port``; each has the same code. Where
    none can be reached the run goes back into the queue (max_user_code_failure_retries in dagster.yaml).
    run_monitoring fails the runs of a worker that falls silent, and run_retries starts them elsewhere; they
    wait there until Postgres has given the locks of the silent host away.
    """

    def __init__(
        self,
        workers: Sequence[str],
        inst_data: ConfigurableClassData | None = None,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        super().__init__(inst_data)
        self._workers = list(workers)
        self._silent_seconds = silent_seconds
        self._network = _Network()
        self._choosing = threading.Lock()
        self._chosen: dict[str, str] = {}
        self._silent_since: dict[str, float] = {}
        self._refused_at: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """One field: the workers, separated by commas, or the environment variable that holds them."""
        return {"workers": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The launcher. Raises SettingsError where no worker is named, or one has no port."""
        return cls(read_workers(config_value["workers"]), inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run on a worker. Raises DagsterUserCodeUnreachableError where none can take it now."""
        run = context.dagster_run
        worker = self.choose(run.run_id)
        try:
            host, _, port = worker.rpartition(":")
            client = _ImpatientClient(host=host, port=int(port))
            DefaultRunLauncher.launch_run_from_grpc_client(self._instance, run, client)
        except DagsterUserCodeUnreachableError as unreachable:
            if "UNAVAILABLE" in str(unreachable):  # gRPC's code when nothing listens there
                raise
            # No answer in time is no refusal: to queue the run again could start it twice. If it does not
            # begin, run_monitoring fails it (start_timeout_seconds), and it is started under another id.
        except DagsterLaunchFailedError as refused:
            # Dagster would fail the run, and its retries too, for as long as the worker takes to stop.
            if "after telling it to shut down" not in str(refused):
                raise
            self._refused_at[worker] = time.monotonic()
            raise DagsterUserCodeUnreachableError(f"The worker {worker} is being stopped.") from refused
        finally:
            self._chosen.pop(run.run_id, None)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the worker of a run can be reached, and still has the run's process.

        run_monitoring asks this of started runs alone. So when a worker is given up, the runs that had not
        started there yet are failed here; else they would wait for start_timeout_seconds.
        """
        worker = worker_of(run)
        asked_at = time.monotonic()
        if worker is None or self._network.reaches(worker):
            self._silent_since.pop(worker or "", None)
            return super().check_run_worker_health(run)
        silent_for = time.monotonic() - self._silent_since.setdefault(worker, asked_at)
        if silent_for < self._silent_seconds:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        why = f"Its worker {worker} has not been reached for {silent_for:.0f} s."
        for starting in self._instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
            # One that was queued again still names the worker that refused it, until another has taken it.
            if worker_of(starting) == worker == self._chosen.get(starting.run_id, worker):
                self._instance.report_run_failed(starting, why)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, why)

    def choose(self, run_id: str) -> str:
        """The worker for a run. Raises DagsterUserCodeUnreachableError where none can be reached."""
        with self._choosing:
            runs = self._instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES)))
            places = {run.run_id: worker_of(run) for run in runs if run.run_id != run_id} | self._chosen
            busy = Counter(place for place in places.values() if place)
            for worker in sorted(self._workers, key=lambda worker: busy[worker]):
                if not self._is_stopping(worker) and self._network.reaches(worker):
                    self._chosen[run_id] = worker
                    return worker
        raise DagsterUserCodeUnreachableError(
            f"None of the workers {', '.join(self._workers)} can be reached; the run is started when one can."
        )

    def _is_stopping(self, worker: str) -> bool:
        refused_at = self._refused_at.get(worker)
        return refused_at is not None and time.monotonic() - refused_at < STOPPING_SECONDS


def read_workers(text: str) -> list[str]:
    """``host:port`` of each worker. Raises SettingsError."""
    workers = [worker.strip() for worker in text.split(",") if worker.strip()]
    if not workers:
        raise SettingsError("ABOUTNESS_WORKERS is empty: set it to host:port of each worker's code server.")
    for worker in workers:
        host, _, port = worker.rpartition(":")
        if not (host and port.isascii() and port.isdigit()):
            raise SettingsError(
                f"ABOUTNESS_WORKERS names {worker!r}: write host:port for each worker, separated by commas."
            )
    return workers


def worker_of(run: dg.DagsterRun) -> str | None:
    """The worker that a run was started on; None while it was not."""
    with suppress(KeyError, ValueError):
        place = json.loads(run.tags[GRPC_INFO_TAG])
        return f"{place['host']}:{place['port']}"
    return None


class _ImpatientClient(DagsterGrpcClient):
    """Dagster's client, which would wait a minute for a host that is cut off while it starts a run."""

    def _get_response(self, method: str, request: Any, timeout: int = START_SECONDS) -> Any:
        return super()._get_response(method, request, min(timeout, START_SECONDS))


class _Network:
    """Which workers can be reached, as it was found within the last moment."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._found: dict[str, tuple[bool, float]] = {}

    def reaches(self, worker: str) -> bool:
        """Whether a worker takes a connection: a busy one does, as its system answers for it."""
        with self._asking:
            reached, found_at = self._found.get(worker, (False, -math.inf))
            if time.monotonic() - found_at > ANSWER_HOLDS_SECONDS:
                reached = _takes_a_connection(worker)
                self._found[worker] = reached, time.monotonic()
            return reached


def _takes_a_connection(worker: str) -> bool:
    host, _, port = worker.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), CONNECT_SECONDS):
        return True
    return False

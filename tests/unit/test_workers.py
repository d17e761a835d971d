"""Which worker a run is started on, and when a worker counts as lost."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
import pytest
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.__generated__ import dagster_api_pb2
from dagster._grpc.__generated__.dagster_api_pb2_grpc import (
    DagsterApiServicer,
    add_DagsterApiServicer_to_server,
)
from dagster._grpc.types import StartRunResult
from dagster._serdes import serialize_value

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.instance.workers import (
    SILENT_SECONDS,
    START_SECONDS,
    WorkersRunLauncher,
    read_workers,
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def listening() -> Iterator[list[str]]:
    """Two workers that take connections."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        yield [f"127.0.0.1:{server.getsockname()[1]}" for server in (first, second)]


@pytest.fixture
def silent() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"127.0.0.1:{closed.getsockname()[1]}"


def launcher_of(
    instance: dg.DagsterInstance, *addresses: str, silent_seconds: float = SILENT_SECONDS
) -> WorkersRunLauncher:
    launcher = WorkersRunLauncher(addresses, silent_seconds=silent_seconds)
    launcher.register_instance(instance)
    return launcher


def run_on(
    instance: dg.DagsterInstance,
    worker: str,
    number: int,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> dg.DagsterRun:
    host, _, port = worker.rpartition(":")
    run = dg.DagsterRun(
        "job",
        run_id=f"00000000-0000-0000-0000-{number:012}",
        status=status,
        tags={GRPC_INFO_TAG: json.dumps({"host": host, "port": int(port)})},
    )
    instance.add_run(run)
    return run


def test_runs_go_to_the_worker_with_the_fewest(instance: dg.DagsterInstance, listening: list[str]) -> None:
    launcher = launcher_of(instance, *listening)
    run_on(instance, listening[0], 1)
    assert [launcher.choose("a"), launcher.choose("b"), launcher.choose("c")] == [
        listening[1],
        listening[0],
        listening[1],
    ]


def test_a_silent_worker_gets_no_run(instance: dg.DagsterInstance, listening: list[str], silent: str) -> None:
    run_on(instance, listening[0], 1)
    assert launcher_of(instance, silent, listening[0]).choose("a") == listening[0]
    with pytest.raises(DagsterUserCodeUnreachableError, match="the run is started when one can"):
        launcher_of(instance, silent).choose("a")


def test_a_worker_is_lost_when_it_was_silent_for_a_while(instance: dg.DagsterInstance, silent: str) -> None:
    run = run_on(instance, silent, 1)
    assert launcher_of(instance, silent).check_run_worker_health(run).status == WorkerStatus.RUNNING
    lost = launcher_of(instance, silent, silent_seconds=0).check_run_worker_health(run)
    assert lost.status == WorkerStatus.NOT_FOUND


def test_runs_that_had_not_started_on_a_lost_worker_fail_with_it(
    instance: dg.DagsterInstance, listening: list[str], silent: str
) -> None:
    starting = dg.DagsterRunStatus.STARTING
    started = run_on(instance, silent, 1)
    there, elsewhere = run_on(instance, silent, 2, starting), run_on(instance, listening[0], 3, starting)
    launcher_of(instance, silent).check_run_worker_health(started)
    assert instance.get_run_by_id(there.run_id) == there
    launcher_of(instance, silent, silent_seconds=0).check_run_worker_health(started)
    lost = instance.get_run_by_id(there.run_id)
    assert lost and lost.status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(elsewhere.run_id) == elsewhere


def test_a_run_that_another_worker_is_about_to_take_does_not_fail_with_the_one_that_refused_it(
    instance: dg.DagsterInstance, listening: list[str], silent: str
) -> None:
    launcher = launcher_of(instance, silent, listening[0], silent_seconds=0)
    started = run_on(instance, silent, 1)
    again = run_on(instance, silent, 2, dg.DagsterRunStatus.STARTING)
    assert launcher.choose(again.run_id) == listening[0]
    assert launcher.check_run_worker_health(started).status == WorkerStatus.NOT_FOUND
    assert instance.get_run_by_id(again.run_id) == again


def test_a_worker_that_is_being_stopped_costs_no_run(
    instance: dg.DagsterInstance, listening: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code server takes connections, and refuses runs, until it has ended: up to a minute."""
    refusals = ["Tried to start a run on a server after telling it to shut down", "Something else"]

    def refuse(*_: object) -> None:
        raise DagsterLaunchFailedError(refusals.pop(0))  # type: ignore[no-untyped-call]

    monkeypatch.setattr(DefaultRunLauncher, "launch_run_from_grpc_client", refuse)
    launcher = launcher_of(instance, *listening)
    context = LaunchRunContext(dagster_run=run_on(instance, listening[0], 1), workspace=None)
    with pytest.raises(DagsterUserCodeUnreachableError, match="is being stopped"):
        launcher.launch_run(context)
    assert [launcher.choose("a"), launcher.choose("b")] == [listening[1], listening[1]]
    with pytest.raises(DagsterLaunchFailedError, match="Something else"):
        launcher.launch_run(context)
    monkeypatch.setattr("aboutness_assets.orchestration.instance.workers.STOPPING_SECONDS", 0.0)
    assert launcher.choose("c") == listening[0]


def test_the_answer_to_the_start_of_a_run_is_awaited_for_seconds_only(tmp_path: Path) -> None:
    """The queue waits with it, and a host that is cut off just then never answers."""
    deadlines = []

    class Worker(DagsterApiServicer):  # type: ignore[misc, unused-ignore]
        def StartRun(self, _request: object, context: grpc.ServicerContext) -> Any:
            deadlines.append(context.time_remaining())
            started = serialize_value(
                StartRunResult(success=True, message=None, serializable_error_info=None)
            )
            return dagster_api_pb2.StartRunReply(serialized_start_run_result=started)

    server = grpc.server(ThreadPoolExecutor(1))
    add_DagsterApiServicer_to_server(Worker(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name="worker")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "job")
    run = dg.DagsterRun("job", remote_job_origin=origin)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_run(run)
        launcher = launcher_of(instance, f"127.0.0.1:{port}")
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    server.stop(None)
    assert len(deadlines) == 1
    assert 0 < deadlines[0] <= START_SECONDS


def test_workers_are_read() -> None:
    assert read_workers(" 10.0.0.11:4266, worker-2:4266 ,") == ["10.0.0.11:4266", "worker-2:4266"]
    for wrong in ("", " , ", "10.0.0.11", "10.0.0.11:x"):
        with pytest.raises(SettingsError, match="ABOUTNESS_WORKERS"):
            read_workers(wrong)

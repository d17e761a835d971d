"""Launches runs as Dagster does by default, and always notices when a run's process is lost."""

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

ANSWER_SECONDS = 10
"""For so long a code server's answer is awaited; the runs of all others wait to be checked meanwhile."""


class WatchedRunLauncher(DefaultRunLauncher):
    """DefaultRunLauncher, except that run_monitoring can check its runs.

    By default the code server watches the processes of its runs. When both die together (a reboot, a stopped
    container), the runs stay STARTED indefinitely, each in a slot of the queue. With this launcher,
    run_monitoring marks them as failed and run_retries starts them again. If such a process is still alive,
    the retry waits for the lock on its range, so nothing is paid twice.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: run_monitoring calls check_run_worker_health."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that started the run is reachable and still has the run's process."""
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)  # it has ended, or is not launched yet
        try:
            answer = client.can_cancel_execution(
                CanCancelExecutionRequest(run_id=run.run_id), timeout=ANSWER_SECONDS
            )
        except DagsterUserCodeUnreachableError as unreachable:
            if "UNAVAILABLE" in str(unreachable):  # gRPC's code when nothing listens there
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "Its code server is gone.")
            return CheckRunHealthResult(WorkerStatus.RUNNING)  # it exists and is busy
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "Its code server has no process for it.")

"""How runs are launched: as Dagster does by default, and the loss of a run's process is always noticed."""

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(DefaultRunLauncher):
    """DefaultRunLauncher, whose code server watches the processes of its runs, watched in its turn.

    When both die together (a reboot, a container that is stopped) Dagster leaves the runs STARTED for ever,
    each in a slot of the queue. Here run_monitoring marks them as failed, and run_retries runs them again.
    Should the process be alive after all, the retry waits for the lock of its range: nothing is paid twice.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether run_monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that started the run is there and still has its process."""
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)  # it has ended, or has yet to be launched
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id))
        except DagsterUserCodeUnreachableError as unreachable:
            if "UNAVAILABLE" in str(unreachable):  # gRPC's code for: nobody listens there
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "Its code server is gone.")
            return CheckRunHealthResult(WorkerStatus.RUNNING)  # it is there and busy
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "Its code server has no process of it.")

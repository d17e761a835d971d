"""The queue of runs, in which one that is started again does not wait behind those that never were."""

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.tags import PRIORITY_TAG, RETRY_NUMBER_TAG


class RetriesFirst(QueuedRunCoordinator):
    """Dagster's queue, except that a retry takes the next free place.

    Its ranges hold answers that are paid for, and the host that asked for them is lost.
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue the run."""
        run = context.dagster_run
        if RETRY_NUMBER_TAG in run.tags and PRIORITY_TAG not in run.tags:
            self._instance.add_run_tags(run.run_id, {PRIORITY_TAG: "1"})
        return super().submit_run(context)

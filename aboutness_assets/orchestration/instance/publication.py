"""What Dagster publishes in several steps, so that nobody who reads between two of them loses anything.

Dagster 1.13 stores that a run failed as an event first, the run's status next, and whether it will be started
again last. Its daemons read between them: a retry was then never launched, and the backfill waited for it
forever (github.com/dagster-io/dagster/issues/33741); or the backfill ended before it (issues/34204). And its
backfill daemon may write a backfill that it read before somebody canceled it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.events import JobFailureData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.storage.runs.schema import BulkActionsTable
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._serdes import serialize_value
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage

PUBLISHED_WITHIN_SECONDS = 60.0
"""A process that stored a failure and nothing else so long is dead: run_monitoring fails its run again."""


class RunsInOrder(PostgresRunStorage):
    """Runs whose retry is decided before they count as failed, and backfills whose cancellation stays."""

    def handle_run_event(
        self, run_id: str, event: dg.DagsterEvent, update_timestamp: datetime | None = None
    ) -> None:
        """Store what an event says of its run; of a failure first whether the run will be started again."""
        instance, run = self._instance, self._get_run_by_id(run_id)
        if event.is_run_failure and run is not None and instance.run_retries_enabled:
            failure = event.event_specific_data
            reason = failure.failure_reason if isinstance(failure, JobFailureData) else None
            failed = run.with_status(DagsterRunStatus.FAILURE)
            will_retry = auto_reexecution_should_retry_run(instance, failed, reason)
            self.add_run_tags(run_id, {WILL_RETRY_TAG: str(will_retry).lower()})
        super().handle_run_event(run_id, event, update_timestamp)

    def update_backfill(self, partition_backfill: PartitionBackfill) -> None:
        """Store a backfill, unless it is as it was before it was canceled."""
        if partition_backfill.status != BulkActionStatus.REQUESTED:
            super().update_backfill(partition_backfill)
            return
        with self.connect() as connection:
            connection.execute(
                BulkActionsTable.update()
                .where(BulkActionsTable.c.key == partition_backfill.backfill_id)
                .where(BulkActionsTable.c.status != BulkActionStatus.CANCELING.value)
                .values(status=partition_backfill.status.value, body=serialize_value(partition_backfill))
            )


class EventsInOrder(PostgresEventLogStorage):
    """Events that tell of a run's failure once the run counts as failed."""

    def get_logs_for_all_runs_by_log_id(
        self,
        after_cursor: int = -1,
        dagster_event_type: DagsterEventType | set[DagsterEventType] | None = None,
        limit: int | None = None,
    ) -> Mapping[int, dg.EventLogEntry]:
        """Events by id; of failures, which Dagster's retries read, none from the first unpublished on."""
        events = super().get_logs_for_all_runs_by_log_id(after_cursor, dagster_event_type, limit)
        if dagster_event_type not in (DagsterEventType.RUN_FAILURE, {DagsterEventType.RUN_FAILURE}):
            return events
        return dict(itertools.takewhile(self._is_published, events.items()))

    def _is_published(self, item: tuple[int, Any]) -> bool:
        event = item[1]
        if time.time() - event.timestamp > PUBLISHED_WITHIN_SECONDS:
            return True
        run = self._instance.get_run_by_id(event.run_id)
        return run is None or run.is_finished

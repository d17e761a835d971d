"""What Dagster shows of each check, and what it should show (docs/decisions/0006).

Dagster plans a check for every run when the run is created, and shows the plan made last. So a run that
failed or was canceled before its checks shows them as failed or skipped, which says nothing about the table,
and the verdicts of a run that was created first and ends last stay hidden behind older ones.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import AssetCheckEvaluation
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

EXECUTIONS_READ = 50
"""Plans and evaluations that are read per check, the latest first."""

SECONDS_ON_TOP = 60
"""So long the plan of an active run may hide the newest verdict; a run of the checks alone ends sooner."""


@dataclass(frozen=True, slots=True)
class CheckState:
    """One check.

    newest: its latest evaluation, None before the first; newest_at: when that was, in seconds since 1970.
    is_hidden: Dagster shows something else. left_out_by: ended runs that did not evaluate the check, and
    whose plan is shown or which ended after the newest evaluation.
    """

    key: dg.AssetCheckKey
    newest: AssetCheckEvaluation | None
    newest_at: float
    is_hidden: bool
    left_out_by: frozenset[str]


def check_states(instance: dg.DagsterInstance, keys: Collection[dg.AssetCheckKey]) -> list[CheckState]:
    """The state of each check, from Dagster's storage alone."""
    storage = instance.event_log_storage
    plans, evaluations = (
        {key: storage.get_asset_check_execution_history(key, EXECUTIONS_READ, status=status) for key in keys}
        for status in (
            {AssetCheckExecutionRecordStatus.PLANNED},
            COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
        )
    )
    ends = _ends(instance, {record.run_id for records in plans.values() for record in records})
    return [_state(key, plans[key], evaluations[key], ends) for key in keys]


def _state(
    key: dg.AssetCheckKey,
    plans: Sequence[AssetCheckExecutionRecord],
    evaluations: Sequence[AssetCheckExecutionRecord],
    ends: dict[str, float | None],
) -> CheckState:
    newest = max(evaluations, key=_evaluated_at, default=None)
    newest_id, newest_at = (newest.id, _evaluated_at(newest)) if newest else (0, 0.0)
    left_out_by, is_hidden = set(), any(record.id > newest_id for record in evaluations)
    for plan in plans:
        is_on_top = plan.id > newest_id
        ended_at = ends.get(plan.run_id, 0.0)  # of a run that was deleted
        if ended_at is not None and (is_on_top or ended_at > newest_at):
            left_out_by.add(plan.run_id)
        if is_on_top and newest and plan.create_timestamp < time.time() - SECONDS_ON_TOP:
            is_hidden = True
    return CheckState(
        key, newest.evaluation if newest else None, newest_at, is_hidden, frozenset(left_out_by)
    )


def _ends(instance: dg.DagsterInstance, run_ids: Collection[str]) -> dict[str, float | None]:
    """When these runs ended, in seconds since 1970, None for those that have not; deleted ones are absent."""
    if not run_ids:
        return {}
    records = instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids)))
    return {
        record.dagster_run.run_id: (record.end_time or record.update_timestamp.timestamp())
        if record.dagster_run.is_finished
        else None
        for record in records
    }


def _evaluated_at(record: AssetCheckExecutionRecord) -> float:
    return record.event.timestamp if record.event else record.create_timestamp

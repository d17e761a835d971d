"""What Dagster shows of each check, and what it should show (docs/decisions/0006).

Dagster plans a check for every run when the run is created, and shows the plan made last. So a run that
failed or was canceled before its checks shows them as failed or skipped, which says nothing about the table,
and the verdicts of a run that was created first and ends last stay hidden behind older ones.
"""

import time
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

import dagster as dg
from dagster import AssetCheckEvaluation
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

_PLANNED = AssetCheckExecutionRecordStatus.PLANNED

EVALUATIONS_READ = 200
"""Latest evaluations of all checks that are read at once."""

PLANS_READ = 50
"""Latest plans that are read per check."""

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


def check_states(instance: dg.DagsterInstance, keys: Set[dg.AssetCheckKey]) -> list[CheckState]:
    """The state of each check, from Dagster's storage alone."""
    storage = instance.event_log_storage
    planned, completed = {_PLANNED}, COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
    newest = _newest_evaluations(instance)
    for key in keys - newest.keys():  # evaluated long ago, if ever
        for record in storage.get_asset_check_execution_history(key, 1, status=completed):
            if record.event and record.evaluation:
                newest[key] = record.event.timestamp, record.evaluation
    shown = storage.get_latest_asset_check_execution_by_key(list(keys))
    plans = {key: storage.get_asset_check_execution_history(key, PLANS_READ, status=planned) for key in keys}
    ends = _ends(instance, {plan.run_id for of_check in plans.values() for plan in of_check})
    return [_state(key, newest.get(key), shown.get(key), plans[key], ends) for key in keys]


def _state(
    key: dg.AssetCheckKey,
    newest: tuple[float, AssetCheckEvaluation] | None,
    shown: AssetCheckExecutionRecord | None,
    plans: Sequence[AssetCheckExecutionRecord],
    ends: dict[str, float | None],
) -> CheckState:
    newest_at, evaluation = newest or (0.0, None)
    left_out_by, is_hidden = set(), False
    for plan in plans:
        ended_at = ends.get(plan.run_id, 0.0)  # 0: of a run that was deleted
        if ended_at is not None and ((shown and plan.id == shown.id) or ended_at > newest_at):
            left_out_by.add(plan.run_id)
    if shown and evaluation:
        if shown.status is _PLANNED:
            is_hidden = shown.create_timestamp < time.time() - SECONDS_ON_TOP
        else:
            is_hidden = shown.event is not None and shown.event.timestamp < newest_at
    return CheckState(key, evaluation, newest_at, is_hidden, frozenset(left_out_by))


def _newest_evaluations(
    instance: dg.DagsterInstance,
) -> dict[dg.AssetCheckKey, tuple[float, AssetCheckEvaluation]]:
    """When each check was evaluated last, and how, of those that were evaluated lately.

    In the order of the log: a check's own records are in the order of plans.
    """
    newest: dict[dg.AssetCheckKey, tuple[float, AssetCheckEvaluation]] = {}
    for record in instance.event_log_storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION), limit=EVALUATIONS_READ
    ):
        event = record.event_log_entry.get_dagster_event()
        evaluation = event.asset_check_evaluation_data
        newest.setdefault(evaluation.asset_check_key, (record.event_log_entry.timestamp, evaluation))
    return newest


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

"""The sensor that keeps the checks of song_aboutness true (docs/decisions/0006)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import AssetCheckEvaluation, DagsterRunStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from aboutness_assets.domain.errors import WholeLookNeeded
from aboutness_assets.orchestration.check_history import CheckState, check_states
from aboutness_assets.orchestration.checks import acceptance_checks, acceptance_results
from aboutness_assets.orchestration.jobs import aboutness_checks
from aboutness_assets.orchestration.preflight import preflight_check, preflight_result
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.verdict_results import evaluation_of

SECONDS_BETWEEN_TICKS = 15

REST_AFTER_A_FAILURE = timedelta(hours=1)
"""Between two runs of aboutness_checks, where the first one did not succeed."""

ACCEPTANCE_KEYS = frozenset(acceptance_checks.check_keys)
PREFLIGHT_KEYS = frozenset(preflight_check.check_keys)


@dataclass(frozen=True, slots=True)
class _Tick:
    """What a tick says; outlasted: what is left to do takes longer than a tick may."""

    said: str
    outlasted: bool = False


@dg.sensor(
    job=aboutness_checks,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    description="Every 15 seconds: evaluates the checks that a failed or canceled run left out, so that they "
    "say what the table is, and shows the newest verdict where Dagster shows an older one. Spends nothing. "
    "Where several million rows are to be looked at, it starts the job aboutness_checks.",
)
def checks_after_failed_runs(
    context: dg.SensorEvaluationContext, settings: SettingsResource
) -> dg.SensorResult:
    """Evaluate what was left out; the tick says which runs did so, and how the checks came out.

    Its cursor is the state of the runs at the last tick, as only they change what Dagster shows.
    """
    runs_now = _state_of_runs(context.instance)
    if runs_now and runs_now == context.cursor:
        tick = _Tick("No run has changed since the last tick.")
    else:
        tick = _make_true(context.instance, settings, context.log)
    if not tick.outlasted:
        return dg.SensorResult(skip_reason=dg.SkipReason(tick.said), cursor=runs_now)
    # The cursor stays, so that the next tick looks again.
    if why_not := _why_not_launched(context.instance):
        return dg.SensorResult(skip_reason=dg.SkipReason(f"{tick.said} {why_not}"))
    context.log.info("%s A run of aboutness_checks is launched.", tick.said)
    return dg.SensorResult(run_requests=[dg.RunRequest()])


def _why_not_launched(instance: dg.DagsterInstance) -> str:
    """Why no run of aboutness_checks is launched now; '' where nothing is in the way."""
    latest = instance.get_run_records(dg.RunsFilter(job_name=aboutness_checks.name), limit=1)
    if not latest or latest[0].dagster_run.is_success:
        return ""
    run_id, run = latest[0].dagster_run.run_id[:8], latest[0].dagster_run
    if not run.is_finished:
        return f"The run {run_id} of aboutness_checks does that."
    again_at = latest[0].create_timestamp + REST_AFTER_A_FAILURE
    if again_at <= datetime.now(UTC):
        return ""
    return (
        f"The run {run_id} of aboutness_checks, which does that, ended as {run.status.value}: none is "
        f"launched before {again_at:%H:%M} UTC."
    )


def _state_of_runs(instance: dg.DagsterInstance) -> str:
    """When a run changed last; '' while one is active, as time alone matters then."""
    if instance.get_runs_count(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        return ""
    latest = instance.get_run_records(limit=1, order_by="update_timestamp")
    return latest[0].update_timestamp.isoformat() if latest else ""


def _make_true(instance: dg.DagsterInstance, settings: SettingsResource, log: logging.Logger) -> _Tick:
    started = dg.RunsFilter(job_name=aboutness_checks.name, statuses=[DagsterRunStatus.STARTED])
    if instance.get_runs_count(started):  # a look at all rows may take minutes, and nobody looks beside it
        return _Tick("A run of aboutness_checks evaluates the checks.")
    states = check_states(instance, ACCEPTANCE_KEYS | PREFLIGHT_KEYS)
    shown_again = [state for state in states if state.is_hidden and not state.left_out_by]
    for state in shown_again:
        _report_newest(instance, state)
    left_out = {state.key: state.left_out_by for state in states if state.left_out_by}
    said = [f"Shown again, as they were newer than what was shown: {_named(shown_again)}."] * bool(
        shown_again
    )
    if not left_out:
        return _Tick(" ".join(said) or "No run left a check out: each shows its newest verdict.")

    in_force = settings.load()
    did_not_pass = {state.key for state in states if state.newest and not state.newest.passed}
    # The preflight comes first, as it says why the others cannot be evaluated, where they cannot. Then it is
    # looked at again with them.
    evaluated = _evaluate(
        instance,
        (left_out.keys() | did_not_pass) & PREFLIGHT_KEYS,
        lambda: [preflight_result(in_force, log)],
    )
    runs = _runs(sorted(frozenset[str]().union(*left_out.values())))
    try:
        evaluated += _evaluate(
            instance,
            left_out.keys() & ACCEPTANCE_KEYS,
            lambda: acceptance_results(in_force, instance, log, since_last_look=True),
        )
    except dg.Failure as failure:
        if not isinstance(failure.__cause__, WholeLookNeeded):
            raise
        return _Tick(f"{runs} left checks out, and a look at all rows takes longer than a tick may.", True)
    failed = [result.check_name for result in evaluated if not result.passed]
    said.append(
        f"{runs} left checks out. Evaluated {len(evaluated)}: "
        + (f"these do not pass: {', '.join(failed)}." if failed else "all pass.")
    )
    return _Tick(" ".join(said))


def _evaluate(
    instance: dg.DagsterInstance,
    keys: Set[dg.AssetCheckKey],
    evaluate: Callable[[], Sequence[dg.AssetCheckResult]],
) -> list[AssetCheckEvaluation]:
    """Evaluate checks and report those of these keys outside of any run."""
    if not keys:
        return []
    began_at = time.time()
    evaluations = [
        evaluation_of(key, result) for result in evaluate() for key in keys if key.name == result.check_name
    ]
    # A run that evaluated them meanwhile may have seen more.
    newer = {state.key: state for state in check_states(instance, keys) if state.newest_at > began_at}
    for evaluation in evaluations:
        if (state := newer.get(evaluation.asset_check_key)) is None:
            instance.report_runless_asset_event(evaluation)
        else:
            _report_newest(instance, state)
    return evaluations


def _report_newest(instance: dg.DagsterInstance, state: CheckState) -> None:
    """Report the newest evaluation again, outside of any run, so that Dagster shows it."""
    if (newest := state.newest) is not None:
        instance.report_runless_asset_event(
            AssetCheckEvaluation(
                asset_key=newest.asset_key,
                check_name=newest.check_name,
                passed=newest.passed,
                metadata=newest.metadata,
                severity=newest.severity,
                description=newest.description,
            )
        )


def _named(states: Sequence[CheckState]) -> str:
    return ", ".join(sorted(state.key.name for state in states))


def _runs(run_ids: Sequence[str]) -> str:
    return f"The run {run_ids[0][:8]}" if len(run_ids) == 1 else f"{len(run_ids)} runs"

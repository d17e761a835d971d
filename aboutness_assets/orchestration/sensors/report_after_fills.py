"""The sensor that refreshes readiness_report when the last of the runs that fill has ended."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES

from aboutness_assets.orchestration.readiness_report import readiness_report
from aboutness_assets.orchestration.sensors.filling_runs import ACTIVE_BACKFILLS, fills

SECONDS_BETWEEN_TICKS = 30

RUNS_LOOKED_AT = 50
"""Of the runs that ended, the last ones."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that fill, as a tick finds them.

    waiting: how many are queued or under way; backfills: how many backfills are. last_ended: the id of the
    one that ended last, and how; reported: the id of the one after which the report was launched last.
    """

    waiting: int
    backfills: int
    last_ended: tuple[str, str] | None
    reported: str | None


def run_to_report(runs: Runs) -> tuple[str | None, str]:
    """The run after which to launch the report now, or None; and the sentence of the tick."""
    if runs.backfills or runs.waiting:
        return None, (
            f"The report waits for the last run: {runs.waiting} runs that fill are queued or under way, and "
            f"{runs.backfills} backfills."
        )
    if runs.last_ended is None:
        return None, "No run that fills has ended."
    run_id, how = runs.last_ended
    if run_id == runs.reported:
        return None, f"The report was launched after the run {run_id[:8]}, and none has ended since."
    return run_id, f"The report is launched, as the run {run_id[:8]} ended ({how.lower()}) and none is left."


@dg.sensor(
    asset_selection=dg.AssetSelection.assets(readiness_report),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    description="Every 30 seconds: materializes readiness_report once when a backfill, or a single run that "
    "fills, has ended in whatever way and no other is queued or under way. Spends nothing.",
)
def report_after_fills(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Launch the report after the last run; the tick says which one, or what it waits for."""
    run_id, sentence = run_to_report(_runs(context.instance, context.cursor))
    if run_id is None:
        return dg.SkipReason(sentence)
    context.log.info(sentence)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=run_id, asset_selection=[readiness_report.key])], cursor=run_id
    )


def _runs(instance: dg.DagsterInstance, reported: str | None) -> Runs:
    under_way = instance.get_runs(filters=dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    backfills = instance.get_backfills(filters=ACTIVE_BACKFILLS)
    ended = instance.get_run_records(
        filters=dg.RunsFilter(statuses=FINISHED_STATUSES),
        order_by="update_timestamp",
        limit=RUNS_LOOKED_AT,
    )
    filled = [record for record in ended if fills(record.dagster_run)]
    last = max(filled, key=lambda record: record.end_time or 0, default=None)
    return Runs(
        waiting=sum(map(fills, under_way)),
        backfills=len(backfills),  # song_aboutness alone has partitions
        last_ended=(last.dagster_run.run_id, last.dagster_run.status.value) if last else None,
        reported=reported,
    )

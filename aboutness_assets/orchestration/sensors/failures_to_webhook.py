"""The sensor that tells of failed runs where ABOUTNESS_WEBHOOK_URL leads."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import dagster as dg

from aboutness_assets.acceptance.coverage import count_whole_coverage
from aboutness_assets.database.operations.ledger import budget_spending
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.failure_message import FailedRun, Standing, failure_message
from aboutness_assets.orchestration.launchpad_types import secrets_of_the_environment
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.webhook import post_json
from aboutness_assets.pipeline.session import open_unrecorded
from aboutness_assets.settings import Settings

SECONDS_BETWEEN_TICKS = 30
TOLD_TAG = "aboutness/webhook"
"""Tag of a failed run that was told, so that it is told once."""

TOLD_WITHIN = timedelta(hours=1)
"""So long after its end a run is told; then a webhook that was away is no longer tried."""

RUNS_READ = 200
COUNTING_SECONDS = 15.0


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    description="Every 30 seconds, where ABOUTNESS_WEBHOOK_URL is set: tells it of runs that failed, with "
    "the reason, the songs left, the dollars spent and a link. It starts no run and spends nothing.",
)
def failures_to_webhook(context: dg.SensorEvaluationContext, settings: SettingsResource) -> dg.SkipReason:
    """Post one message about all runs that failed and were not told; the tick says what became of it."""
    in_force = settings.load()
    if in_force.webhook_url is None:
        return dg.SkipReason("ABOUTNESS_WEBHOOK_URL is not set: nothing is told.")
    runs = _runs_to_tell(context)
    if not runs:
        return dg.SkipReason("No run has failed since the last one that was told.")
    failures = [_failure(context.instance, run) for run in runs]
    message = failure_message(failures, _standing(in_force, context.log), in_force.ui_url)
    delivery = post_json(in_force.webhook_url.get_secret_value(), {"text": message})
    told = f"{len(runs)} failed run{'' if len(runs) == 1 else 's'}"
    if delivery.outcome == "failed":
        return dg.SkipReason(
            f"The webhook could not be told of {told}: {delivery.detail}. It is tried again at every tick, "
            "until an hour after the failure."
        )
    words = "told" if delivery.outcome == "delivered" else f"refused: {delivery.detail}"
    for run in runs:
        context.instance.add_run_tags(run.run_id, {TOLD_TAG: words})
    if delivery.outcome == "refused":
        return dg.SkipReason(
            f"The webhook refused to be told of {told}: {delivery.detail}. Check ABOUTNESS_WEBHOOK_URL."
        )
    return dg.SkipReason(f"Told of {told}.")


def _runs_to_tell(context: dg.SensorEvaluationContext) -> list[dg.DagsterRun]:
    """Runs of this code location that failed within the last hour and were not told, the first first."""
    since = datetime.now(UTC) - TOLD_WITHIN
    records = context.instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since), limit=RUNS_READ
    )
    jobs = context.repository_def.job_names if context.repository_def else []
    origin = context.code_location_origin
    return [
        record.dagster_run
        for record in reversed(records)
        if (record.end_time or 0) >= since.timestamp()
        and TOLD_TAG not in record.dagster_run.tags
        and record.dagster_run.job_name in jobs
        and _location_of(record.dagster_run) in (None, origin.location_name if origin else None)
    ]


def _location_of(run: dg.DagsterRun) -> str | None:
    """The code location that a run was launched from; None for one that was executed by a command."""
    if run.remote_job_origin is None:
        return None
    return run.remote_job_origin.repository_origin.code_location_origin.location_name


def _failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> FailedRun:
    tags = run.tags
    first, last = (
        tags.get(f"dagster/asset_partition_range_{end}", tags.get("dagster/partition", ""))
        for end in ("start", "end")
    )
    return FailedRun(
        run.run_id,
        "a run of assets" if run.job_name.startswith("__") else run.job_name,
        without_secrets(_sentence(instance, run.run_id)),
        first if first == last else f"{first} to {last}",
        tags.get("dagster/will_retry") == "true",
    )


def _sentence(instance: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed: the sentence of its first failed step, or what Dagster says of the run."""
    ended = instance.all_logs(
        run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    )
    for entry in ended:
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure:
            failed = event.step_failure_data
            if failed.user_failure_data and failed.user_failure_data.description:
                return failed.user_failure_data.description
            if failed.error:
                return failed.error.message
        if event.message:
            return event.message
    return "Dagster gives no reason."


def without_secrets(words: str) -> str:
    """Words in which no value of a secret variable of the environment can be read, nor a password in it."""
    for secret in sorted(secrets_of_the_environment(), key=len, reverse=True):
        words = words.replace(secret, "[secret]")
    return words


def _standing(settings: Settings, log: logging.Logger) -> Standing | None:
    """Counted now; None where that cannot be done within a few seconds."""

    async def count() -> Standing:
        async with asyncio.timeout(COUNTING_SECONDS), open_unrecorded(settings) as session:
            coverage = await count_whole_coverage(session)
            spending = await budget_spending(session.operations, session.table.table_id, settings.budget)
        return Standing(coverage.songs - coverage.with_row, settings.budget, settings.max_usd, spending)

    try:
        return run_until_interrupted(count(), log)
    except dg.Failure as failure:  # also what asyncio's time-out becomes
        log.info("Nothing could be counted: %s", failure)
        return None

"""The sensor that launches runs for new songs, within the cap. It spends money, so it is off by default."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunRecord

from aboutness_assets.database.operations.ledger import budget_spending
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.jobs import song_aboutness_backfill
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.sensors.filling_runs import ACTIVE_BACKFILLS, fills
from aboutness_assets.pipeline.new_songs import NewSongs, count_new_songs, find_new_songs
from aboutness_assets.pipeline.session import open_unrecorded
from aboutness_assets.settings import Settings, partitions_per_run

SECONDS_BETWEEN_TICKS = 300
REST_AFTER_A_FAILURE = timedelta(hours=1)
RUNS_READ = 50


@dg.sensor(
    job=song_aboutness_backfill,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    description="Off unless you turn it on, as its runs spend money, and idle without ABOUTNESS_MAX_USD. "
    "Every 5 minutes: where no run writes rows, launches one run for neighboring partitions with new songs, "
    "ABOUTNESS_PARTITIONS_PER_RUN at most. Songs that failed are left to replay_failed_songs or to you. "
    "After a run that failed or was canceled it rests for an hour.",
)
def new_songs_to_runs(
    context: dg.SensorEvaluationContext, settings: SettingsResource
) -> dg.SensorResult | dg.SkipReason:
    """Launch one run, or say why none."""
    in_force = settings.load()
    if why := _why_not_now(context.instance, in_force):
        return dg.SkipReason(why)
    keys = context.instance.get_dynamic_partitions(SONG_ID_RANGES)

    async def look() -> tuple[float, NewSongs]:
        async with open_unrecorded(in_force) as session:
            spending = await budget_spending(session.operations, session.table.table_id, in_force.budget)
            found = await find_new_songs(
                keys, context.cursor or "", partitions_per_run(), lambda key: count_new_songs(session, key)
            )
        return spending.committed_usd, found

    committed_usd, found = run_until_interrupted(look(), context.log)
    said = (
        f"{found.songs} new songs without a row in {len(found.range_keys)} neighboring partitions; "
        f"{found.songs_failed} that failed are left out; {found.looked_at} of {len(keys)} partitions were "
        "looked at"
    )
    if not found.range_keys:
        return dg.SensorResult(skip_reason=dg.SkipReason(f"{said}."), cursor=found.look_next_at)
    if in_force.max_usd is not None and committed_usd >= in_force.max_usd:
        return dg.SkipReason(
            f"{said}. Nothing is launched, as the budget {in_force.budget!r} is spent "
            f"(ABOUTNESS_MAX_USD = {in_force.max_usd:g})."
        )
    return dg.SensorResult(run_requests=[dg.RunRequest(tags=_tags(found))], cursor=found.look_next_at)


def _tags(found: NewSongs) -> dict[str, str]:
    first, last = found.range_keys[0], found.range_keys[-1]
    ranges = (
        {"dagster/partition": first}
        if first == last
        else {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
    )
    return {**ranges, "aboutness/new_songs": str(found.songs)}


def _why_not_now(instance: dg.DagsterInstance, settings: Settings) -> str:
    """Why no run is launched, whatever songs there are; '' where nothing is in the way."""
    if settings.max_usd is None:
        return "ABOUTNESS_MAX_USD is not set: without a cap no run is launched."
    for backfill in instance.get_backfills(ACTIVE_BACKFILLS):
        if song_aboutness.key in (backfill.asset_selection or [song_aboutness.key]):
            return f"The backfill {backfill.backfill_id} is active: no other run is launched."
    for record in instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        if fills(record.dagster_run):
            return f"The run {record.dagster_run.run_id[:8]} is active: no other run is launched."
    return _rest(instance)


def _rest(instance: dg.DagsterInstance) -> str:
    """That the latest writing run failed or was canceled just now; '' where it did not."""
    since = datetime.now(UTC) - REST_AFTER_A_FAILURE
    finished = dg.RunsFilter(
        statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED],
        updated_after=since,
    )
    ended = [
        (_ended_at(record), record.dagster_run)
        for record in instance.get_run_records(finished, limit=RUNS_READ)
        if fills(record.dagster_run)
    ]
    if not ended:
        return ""
    ended_at, run = max(ended, key=lambda each: each[0])
    if run.is_success or ended_at < since.timestamp():
        return ""
    again_at = datetime.fromtimestamp(ended_at, UTC) + REST_AFTER_A_FAILURE
    how = "was canceled" if run.status is DagsterRunStatus.CANCELED else "failed"
    return (
        f"The run {run.run_id[:8]} {how}: nothing is launched before {again_at:%H:%M} UTC, or until a run "
        "that somebody launches succeeds."
    )


def _ended_at(record: RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()

"""The sensor that keeps song_id_ranges in step with the catalogue."""

import dagster as dg

from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.partitions import create_missing_partitions
from aboutness_assets.orchestration.resources import SettingsResource

SECONDS_BETWEEN_TICKS = 60


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    description="Creates partitions for songs that are in no partition yet; starts no run, spends nothing.",
)
def song_id_ranges_in_step(context: dg.SensorEvaluationContext, settings: SettingsResource) -> dg.SkipReason:
    """Create the missing partitions; the tick says how many there were."""
    new = run_until_interrupted(
        create_missing_partitions(context.instance, settings.load(), context.log), context.log
    )
    return dg.SkipReason(f"{len(new)} partitions added." if new else "Every song is in a partition.")

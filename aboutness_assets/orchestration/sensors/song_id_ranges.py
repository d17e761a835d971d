"""The sensor that keeps song_id_ranges in step with the catalogue."""

import dagster as dg

from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES, create_missing_partitions
from aboutness_assets.orchestration.resources import SettingsResource

SECONDS_BETWEEN_TICKS = 60


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    description="Every minute: creates partitions of song_id_ranges for songs that are in none yet. It "
    "starts no run and spends nothing.",
)
def song_id_ranges_in_step(context: dg.SensorEvaluationContext, settings: SettingsResource) -> dg.SkipReason:
    """Create the missing partitions; the tick says how many there were, and which."""
    new = run_until_interrupted(
        create_missing_partitions(context.instance, settings.load(), context.log), context.log
    )
    if not new:
        ranges = len(context.instance.get_dynamic_partitions(SONG_ID_RANGES))
        return dg.SkipReason(f"Every song is in one of the {ranges} partitions; none was added.")
    if len(new) == 1:
        return dg.SkipReason(f"1 partition added: {new[0]}.")
    return dg.SkipReason(f"{len(new)} partitions added, the first {new[0]}, the last {new[-1]}.")

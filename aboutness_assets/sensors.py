"""Keeps song_id_ranges in step with the catalogue."""

import dagster as dg

from aboutness_assets.assets import song_id_ranges
from aboutness_assets.interruption import run_until_interrupted
from aboutness_assets.resources import SettingsResource
from aboutness_assets.runs import lay_ranges

SECONDS_BETWEEN_LOOKS = 60


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
)
def song_id_ranges_in_step(
    context: dg.SensorEvaluationContext, settings: SettingsResource
) -> dg.SensorResult | dg.SkipReason:
    """Adds partitions for songs that lie in no range yet; starts no run and spends nothing."""
    existing = context.instance.get_dynamic_partitions(str(song_id_ranges.name))
    new = run_until_interrupted(lay_ranges(settings.load(), existing))
    if not new:
        return dg.SkipReason(f"Every song lies in one of the {len(existing)} ranges.")
    return dg.SensorResult(dynamic_partitions_requests=[song_id_ranges.build_add_request(new)])

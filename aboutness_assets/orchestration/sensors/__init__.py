"""The sensors, one per file. None of those that run by default spends anything."""

from aboutness_assets.orchestration.sensors.checks_after_failed_runs import checks_after_failed_runs
from aboutness_assets.orchestration.sensors.failures_to_webhook import failures_to_webhook
from aboutness_assets.orchestration.sensors.new_songs_to_runs import new_songs_to_runs
from aboutness_assets.orchestration.sensors.report_after_fills import report_after_fills
from aboutness_assets.orchestration.sensors.song_id_ranges import song_id_ranges_in_step

SENSORS = (
    song_id_ranges_in_step,
    checks_after_failed_runs,
    failures_to_webhook,
    new_songs_to_runs,
    report_after_fills,
)

__all__ = [
    "SENSORS",
    "checks_after_failed_runs",
    "failures_to_webhook",
    "new_songs_to_runs",
    "report_after_fills",
    "song_id_ranges_in_step",
]

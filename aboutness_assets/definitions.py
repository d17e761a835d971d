"""The whole graph on one screen."""

from typing import Any

import dagster as dg

from aboutness_assets.orchestration.assets import song_aboutness, songs
from aboutness_assets.orchestration.canary import aboutness_canary
from aboutness_assets.orchestration.checks import acceptance_checks
from aboutness_assets.orchestration.jobs import (
    aboutness_checks,
    aboutness_smoke,
    forget_capabilities,
    replay_failed_songs,
    song_aboutness_backfill,
    sync_song_id_ranges,
)
from aboutness_assets.orchestration.preflight import aboutness_preflight, preflight_check
from aboutness_assets.orchestration.progress import backfill_progress
from aboutness_assets.orchestration.readiness_report import readiness_report
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.sensors import SENSORS


def build_defs(**resources: Any) -> dg.Definitions:
    """The code location; a test may give resources of its own."""
    return dg.Definitions(
        assets=dg.with_source_code_references([songs, song_aboutness, backfill_progress, readiness_report]),
        asset_checks=[acceptance_checks, preflight_check],
        jobs=[
            sync_song_id_ranges,
            song_aboutness_backfill,
            aboutness_preflight,
            aboutness_smoke,
            aboutness_canary,
            aboutness_checks,
            replay_failed_songs,
            forget_capabilities,
        ],
        sensors=SENSORS,
        resources={"settings": SettingsResource(), **resources},
        # A run is one process: a step of its own would cost 3 to 10 s a range (docs/design.md).
        executor=dg.in_process_executor,
    )


defs = build_defs()

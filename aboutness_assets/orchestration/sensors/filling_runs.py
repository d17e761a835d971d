"""Which runs and backfills fill song_aboutness, for the sensors that act when they are over."""

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

from aboutness_assets.orchestration.assets import song_aboutness

FILLING_JOBS = frozenset(
    {"song_aboutness_backfill", "aboutness_smoke", "aboutness_canary", "replay_failed_songs"}
)
"""The jobs that write rows; runs that materialize song_aboutness from its own page write rows too."""

ACTIVE_BACKFILLS = BulkActionsFilter(
    statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
)


def fills(run: dg.DagsterRun) -> bool:
    """Whether the run writes rows of song_aboutness."""
    return run.job_name in FILLING_JOBS or song_aboutness.key in (run.asset_selection or ())

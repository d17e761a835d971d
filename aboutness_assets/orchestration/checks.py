"""The acceptance criteria as asset checks on song_aboutness, all from one look at the table.

They are unpartitioned: each speaks of the whole asset, so a later range cannot hide an older failure.
"""

from collections.abc import Iterator

import dagster as dg

from aboutness_assets.acceptance.verdicts import verdict_table
from aboutness_assets.database.service.text_criteria import TEXT_CRITERIA
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.metadata import WARNINGS, verdict_result
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.runs import evaluate_criteria

FAIL_RUN_TAG = "aboutness/fail_run_on_failed_check"
"""Tag of a job whose run is to fail with a check of severity ERROR; elsewhere a failed check only shows."""

_DESCRIPTIONS = {
    **{name: f"No new row has: {violated}." for name, violated in TEXT_CRITERIA.items()},
    "old_style_rows_untouched": "Every old-style row is byte for byte as it was when first seen.",
    "ready_to_enable": "At least half of the catalogue has a row and every other criterion holds.",
    "no_failed_songs": "No song is on record as failed; the metadata says which are, and why.",
}


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=song_aboutness, description=description)
        for name, description in _DESCRIPTIONS.items()
    ],
    can_subset=True,
)
def acceptance_checks(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource
) -> Iterator[dg.AssetCheckResult]:
    """Hold song_aboutness against its acceptance criteria."""
    run = context.op_execution_context
    has_ranges = run.has_partition_key or run.has_partition_key_range
    range_keys = run.partition_keys if has_ranges and _all_passed(context.instance) else ()
    selected = {key.name for key in context.selected_asset_check_keys}
    verdicts = run_until_interrupted(evaluate_criteria(settings.load(), range_keys))
    results = [
        verdict_result(verdict, song_aboutness.key) for verdict in verdicts if verdict.name in selected
    ]
    context.log.info("Acceptance table\n%s", verdict_table(verdicts))
    yield from results
    failed = [r.check_name for r in results if not r.passed and r.severity == dg.AssetCheckSeverity.ERROR]
    if failed and FAIL_RUN_TAG in run.run_tags:
        raise dg.Failure(f"These checks failed: {', '.join(map(str, failed))}.", allow_retries=False)


def _all_passed(instance: dg.DagsterInstance) -> bool:
    """Whether the last verdict on every criterion was a pass; this run's own is only planned so far."""
    keys = [dg.AssetCheckKey(song_aboutness.key, name) for name in _DESCRIPTIONS if name not in WARNINGS]
    summaries = instance.event_log_storage.get_asset_check_summary_records(keys).values()
    verdicts = [summary.last_completed_check_execution_record for summary in summaries]
    return all(verdict is not None and verdict.status.value == "SUCCEEDED" for verdict in verdicts)

"""The acceptance criteria as asset checks on song_aboutness, all evaluated in one pass over the table.

They are unpartitioned: each one is about the whole asset, so a later range cannot hide an older failure.
"""

import logging
from collections.abc import Iterator, Sequence

import dagster as dg

from aboutness_assets.acceptance.criteria import CRITERIA
from aboutness_assets.acceptance.evaluate import evaluate_criteria
from aboutness_assets.acceptance.verdicts import Verdict, verdict_table
from aboutness_assets.database.service.table_facts import ServiceTables
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.table_observations import read_tables, report_tables
from aboutness_assets.orchestration.verdict_results import verdict_result
from aboutness_assets.pipeline.session import open_session
from aboutness_assets.settings import Settings

FAIL_RUN_TAG = "aboutness/fail_run_on_failed_check"
"""Tag of a job whose run fails if a check of severity ERROR fails; other runs only show the failed check."""


def acceptance_results(
    settings: Settings,
    instance: dg.DagsterInstance,
    log: logging.Logger,
    *,
    range_keys: Sequence[str] = (),
    since_last_look: bool = False,
) -> list[dg.AssetCheckResult]:
    """Evaluate the acceptance criteria now (see evaluate_criteria); the log gets the table of them."""
    partition_keys = instance.get_dynamic_partitions(SONG_ID_RANGES)

    async def evaluate() -> tuple[list[Verdict], ServiceTables | None]:
        async with open_session(settings) as session:
            verdicts = await evaluate_criteria(
                session, range_keys, partition_keys, since_last_look=since_last_look
            )
            return verdicts, await read_tables(session, even_if_large=not (range_keys or since_last_look))

    verdicts, tables = run_until_interrupted(evaluate(), log)
    report_tables(instance, tables)
    log.info("Acceptance table\n%s", verdict_table(verdicts))
    return [verdict_result(verdict, song_aboutness.key) for verdict in verdicts]


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(criterion.name, asset=song_aboutness, description=criterion.description)
        for criterion in CRITERIA
    ],
    can_subset=True,
)
def acceptance_checks(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the acceptance criteria of song_aboutness."""
    run = context.op_execution_context
    has_ranges = run.has_partition_key or run.has_partition_key_range
    evaluated = acceptance_results(
        settings.load(),
        context.instance,
        context.log,
        range_keys=run.partition_keys if has_ranges else (),
    )
    selected = {key.name for key in context.selected_asset_check_keys}
    results = [result for result in evaluated if result.check_name in selected]
    yield from results
    failed = [r.check_name for r in results if not r.passed and r.severity == dg.AssetCheckSeverity.ERROR]
    if failed and FAIL_RUN_TAG in run.run_tags:
        raise dg.Failure(f"These checks failed: {', '.join(map(str, failed))}.", allow_retries=False)

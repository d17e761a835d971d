"""The asset readiness_report: what a person needs to know to decide whether the texts may be switched on."""

import socket
from datetime import UTC, datetime

import dagster as dg

from aboutness_assets.acceptance.criteria import CRITERIA
from aboutness_assets.acceptance.report_content import ReadinessReport
from aboutness_assets.acceptance.report_reading import read_readiness
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.catalog_card import owners
from aboutness_assets.orchestration.check_history import check_states
from aboutness_assets.orchestration.checks import acceptance_checks
from aboutness_assets.orchestration.instance.report_downloads import (
    DOWNLOAD_URL,
    is_downloadable,
    keep_report,
)
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.report_html import CheckSeen, report_html
from aboutness_assets.orchestration.report_metadata import report_metadata
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.session import open_unrecorded
from aboutness_assets.settings import Settings


@dg.asset(deps=[song_aboutness], group_name="aboutness", owners=owners(), kinds={"pandas"})
def readiness_report(
    context: dg.AssetExecutionContext, settings: SettingsResource
) -> dg.MaterializeResult[None]:
    """Whether the texts may be switched on: coverage, confidence, lengths, failures, dollars, a sample.

    It only reads the tables, and spends nothing. A sensor materializes it after every backfill and every
    single run that fills. The whole report is one HTML file to open, print or send: the first line of the
    metadata downloads it.
    """
    instance = context.instance
    keys = instance.get_dynamic_partitions(SONG_ID_RANGES)
    report = run_until_interrupted(_read(settings.load(), keys), context.log)
    path = keep_report(instance, report_html(report, checks_seen(instance)))
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(_how_to_get_it(is_downloadable(instance))),
            **report_metadata(report),
            "file": dg.MetadataValue.path(str(path)),
            "file_is_on": socket.gethostname(),
        }
    )


def checks_seen(instance: dg.DagsterInstance) -> list[CheckSeen]:
    """The criteria that were evaluated, and how that came out last."""
    newest = {state.key.name: state for state in check_states(instance, acceptance_checks.check_keys)}
    return [
        CheckSeen(
            criterion.name,
            criterion.description,
            evaluation.passed,
            datetime.fromtimestamp(newest[criterion.name].newest_at, UTC),
        )
        for criterion in CRITERIA
        if (evaluation := newest[criterion.name].newest) is not None
    ]


def _how_to_get_it(has_download: bool) -> str:
    """Markdown that says how a person gets the file, wherever the browser is."""
    if has_download:
        return f"[Download readiness_report.html]({DOWNLOAD_URL}): one file to open, print or send."
    return (
        "The report is the file below, on the host that ran it. This webserver does not hand it out, because "
        "compute_logs of its instance is not that of the project's dagster.yaml. Materialized on a machine "
        "with the same settings (`dagster asset materialize --select readiness_report -m "
        "aboutness_assets.definitions`), it is written there."
    )


async def _read(settings: Settings, partition_keys: list[str]) -> ReadinessReport:
    async with open_unrecorded(settings) as session:
        return await read_readiness(session, partition_keys)

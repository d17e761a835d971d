"""The asset readiness_report: what a person needs to know to decide whether the texts may be switched on."""

from pathlib import Path
from typing import Any

import dagster as dg

from aboutness_assets.acceptance.report_content import ReadinessReport
from aboutness_assets.acceptance.report_reading import read_readiness
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.report_html import report_html
from aboutness_assets.orchestration.report_metadata import report_metadata
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.session import open_unrecorded
from aboutness_assets.settings import Settings

FILE_NAME = "readiness_report.html"


@dg.asset(deps=[song_aboutness], group_name="aboutness", kinds={"pandas"})
def readiness_report(
    context: dg.AssetExecutionContext, settings: SettingsResource
) -> dg.MaterializeResult[None]:
    """Whether the texts may be switched on: coverage, confidence, lengths, failures, dollars, a sample.

    Reads both databases, writes to neither and spends nothing. A sensor materializes it after every backfill
    and every single run that filled. The same report is one HTML file to send to somebody else: its metadata
    say where it is and how to get it.
    """
    keys = context.instance.get_dynamic_partitions(SONG_ID_RANGES)
    report = run_until_interrupted(_read(settings.load(), keys), context.log)
    path = write_report(Path(context.instance.storage_directory()), report)
    return dg.MaterializeResult(metadata=metadata_of(report, path))


def metadata_of(report: ReadinessReport, path: Path) -> dict[str, Any]:
    """What the UI shows of a report whose file is at ``path``."""
    return {
        **report_metadata(report),
        "file": dg.MetadataValue.path(str(path)),
    }


def write_report(directory: Path, report: ReadinessReport) -> Path:
    """Write the HTML file into the directory, in the place of an older one at once; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path, new = directory / FILE_NAME, directory / f"{FILE_NAME}.new"
    new.write_text(report_html(report), encoding="utf-8")
    new.replace(path)
    return path


async def _read(settings: Settings, partition_keys: list[str]) -> ReadinessReport:
    async with open_unrecorded(settings) as session:
        return await read_readiness(session, partition_keys)

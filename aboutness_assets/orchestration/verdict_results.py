"""Verdicts as Dagster shows them: the results of asset checks."""

from typing import Any

import dagster as dg
from dagster import AssetCheckEvaluation

from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.orchestration.markdown import failed_records_table
from aboutness_assets.orchestration.readiness_picture import readiness_markdown


def verdict_result(verdict: Verdict, asset_key: dg.AssetKey) -> dg.AssetCheckResult:
    """The result of an asset check; its severity is WARN where the criterion only warns, else ERROR."""
    warns_only = verdict.criterion.warns_only
    metadata: dict[str, Any] = dict(verdict.details)
    if verdict.failed_songs:
        metadata["failed_songs"] = dg.MetadataValue.md(failed_records_table(verdict.failed_songs))
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=verdict.name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN if warns_only else dg.AssetCheckSeverity.ERROR,
        description=readiness_markdown(verdict.readiness) if verdict.readiness else verdict.description,
        metadata=metadata,
    )


def evaluation_of(key: dg.AssetCheckKey, result: dg.AssetCheckResult) -> AssetCheckEvaluation:
    """The event of a result, for reporting it outside of the run of a check."""
    return AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )

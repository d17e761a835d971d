"""How verdicts look in Dagster's UI."""

from __future__ import annotations

import dagster as dg
import pytest

from aboutness_assets.acceptance.criteria import Criterion
from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.orchestration.verdict_results import verdict_result


@pytest.mark.parametrize(
    ("warns_only", "severity"), [(True, dg.AssetCheckSeverity.WARN), (False, dg.AssetCheckSeverity.ERROR)]
)
def test_a_criterion_that_only_warns_is_a_warning_and_any_other_an_error(
    warns_only: bool, severity: dg.AssetCheckSeverity
) -> None:
    verdict = Verdict(Criterion("a_check", "what it demands", warns_only), False, "a reason", {"rows": 2})
    result = verdict_result(verdict, dg.AssetKey("song_aboutness"))
    assert (result.check_name, result.passed, result.severity) == ("a_check", False, severity)
    assert result.description == "a reason"
    assert result.metadata["rows"] == dg.IntMetadataValue(2)

"""When the report is launched: once after the last run that fills, however it ended."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from aboutness_assets.definitions import defs
from aboutness_assets.orchestration.readiness_report import readiness_report
from aboutness_assets.orchestration.sensors.filling_runs import FILLING_JOBS
from aboutness_assets.orchestration.sensors.report_after_fills import (
    Runs,
    report_after_fills,
    run_to_report,
)


@pytest.mark.parametrize(
    ("runs", "launched_after"),
    [
        (Runs(0, 0, None, None), None),
        (Runs(0, 0, ("first", "CANCELED"), None), "first"),
        (Runs(0, 0, ("first", "FAILURE"), "first"), None),
        (Runs(0, 0, ("second", "SUCCESS"), "first"), "second"),
        (Runs(1, 0, ("second", "SUCCESS"), "first"), None),
        (Runs(0, 1, ("second", "SUCCESS"), "first"), None),  # its next runs are not queued yet
    ],
)
def test_the_report_is_launched_once_after_the_last_run(runs: Runs, launched_after: str | None) -> None:
    run_id, sentence = run_to_report(runs)
    assert run_id == launched_after
    assert sentence.endswith(".")


def test_every_job_that_fills_exists() -> None:
    assert {job.name for job in defs.resolve_all_job_defs()} >= FILLING_JOBS


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs)
    result = report_after_fills(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_a_tick_sees_the_runs_of_the_instance(instance: dg.DagsterInstance) -> None:
    assert isinstance(tick(instance), dg.SkipReason)
    smoke = defs.resolve_job_def("aboutness_smoke")
    failed = smoke.execute_in_process(instance=instance, raise_on_error=False)
    assert not failed.success
    defs.resolve_job_def("sync_song_id_ranges").execute_in_process(instance=instance, raise_on_error=False)
    launched = tick(instance)
    assert isinstance(launched, dg.SensorResult)
    assert launched.run_requests is not None
    [request] = launched.run_requests
    assert (request.run_key, request.asset_selection) == (failed.run_id, [readiness_report.key])
    assert isinstance(tick(instance, launched.cursor), dg.SkipReason)
    instance.create_run_for_job(smoke, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(tick(instance), dg.SkipReason)

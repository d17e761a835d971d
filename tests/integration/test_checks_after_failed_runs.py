"""The sensor that evaluates checks after runs that ended before them, on Dagster's real storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from aboutness_assets.definitions import defs
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.sensors import checks_after_failed_runs
from aboutness_assets.orchestration.sensors.checks_after_failed_runs import ACCEPTANCE_KEYS, PREFLIGHT_KEYS
from tests.support.dagster_project import DagsterProject
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

RANGE = "000000001-000001000"
KEYS = ACCEPTANCE_KEYS | PREFLIGHT_KEYS
NOTHING_LEFT_OUT = "No run left a check out: each shows its newest verdict."


@pytest.fixture
def project(
    make_service: Callable[..., ServiceDatabase],
    stand_in: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> DagsterProject:
    service = make_service(songs=[(1, "A title", "An artist"), (2, "Another", "Artist")])
    made = DagsterProject.create(tmp_path / "home", service, stand_in)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def instance(project: DagsterProject) -> Iterator[dg.DagsterInstance]:
    with project.instance() as opened:
        opened.add_dynamic_partitions(SONG_ID_RANGES, [RANGE])
        yield opened


def created_run(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun:
    """A run whose checks are planned."""
    definition = defs.resolve_job_def(job)
    tags = {"dagster/partition": RANGE} if job == "song_aboutness_backfill" else {}
    return instance.create_run_for_job(job_def=definition, tags={**definition.tags, **tags})


def execute(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    job = InMemoryJob(defs.resolve_job_def(run.job_name))
    return execute_run(job, run, instance).success


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> str:
    """What a tick says."""
    return tick_with_cursor(instance, cursor)[0]


def tick_with_cursor(instance: dg.DagsterInstance, cursor: str | None) -> tuple[str, str | None]:
    result = sensor_result(instance, cursor)
    assert isinstance(result.skip_reason, dg.SkipReason)
    return result.skip_reason.skip_message or "", result.cursor


def sensor_result(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    with dg.build_sensor_context(
        instance=instance, resources={"settings": SettingsResource()}, definitions=defs, cursor=cursor
    ) as context:
        result = checks_after_failed_runs(context)
    assert isinstance(result, dg.SensorResult)
    return result


def shown(instance: dg.DagsterInstance) -> dict[str, str]:
    """What Dagster shows of each check: SUCCEEDED, FAILED or PLANNED."""
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(KEYS))
    return {key.name: record.status.value for key, record in latest.items()}


def test_checks_that_a_failed_and_a_canceled_run_left_out_are_evaluated_once(
    project: DagsterProject, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tick(instance) == NOTHING_LEFT_OUT  # before any run nothing is known, and nothing is claimed
    assert shown(instance) == {}

    with monkeypatch.context() as without_key:
        without_key.setenv("OPENAI_API_KEY", "")
        assert not execute(instance, created_run(instance, "song_aboutness_backfill"))
    instance.report_run_canceled(created_run(instance, "song_aboutness_backfill"))
    assert shown(instance) == dict.fromkeys([key.name for key in KEYS], "PLANNED")

    with monkeypatch.context() as away, pytest.raises(dg.Failure, match="cannot be used"):
        away.setenv("DATABASE_URL", re.sub(r":\d+/", ":1/", project.service.url))
        tick(instance)
    assert {name: status for name, status in shown(instance).items() if status != "PLANNED"} == {
        "preflight": "FAILED"  # the one that can be evaluated, and says why the others cannot
    }

    said, cursor = tick_with_cursor(instance, "what the runs were before")

    assert said == "2 runs left checks out. Evaluated 9: these do not pass: ready_to_enable."
    not_ready = {"ready_to_enable": "FAILED"}
    assert shown(instance) == {key.name: "SUCCEEDED" for key in KEYS} | not_ready
    assert tick(instance) == NOTHING_LEFT_OUT
    assert tick(instance, cursor) == "No run has changed since the last tick."
    assert len(instance.get_runs()) == 2


def test_a_run_of_the_checks_that_fails_because_a_check_does_is_left_alone(
    project: DagsterProject, instance: dg.DagsterInstance
) -> None:
    project.sql(
        "insert into song_aboutness (song_id, emotions_text, moments_text) values (1, repeat('x', 101), 'y')"
    )
    assert not execute(instance, created_run(instance, "aboutness_checks"))
    assert shown(instance)["emotions_text_within_100_chars"] == "FAILED"

    assert tick(instance) == NOTHING_LEFT_OUT


def test_a_run_that_is_active_is_not_anticipated_and_a_verdict_hidden_by_a_later_plan_is_shown(
    instance: dg.DagsterInstance,
) -> None:
    first, second = created_run(instance, "aboutness_checks"), created_run(instance, "aboutness_checks")
    assert tick(instance) == NOTHING_LEFT_OUT
    assert execute(instance, second)
    assert execute(instance, first)  # evaluated later, and hidden by the plan that was made later

    said = tick(instance)

    assert said.startswith("Shown again, as they were newer than what was shown: emotions_text_")
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(KEYS))
    assert {record.run_id for record in newest.values()} == {""}
    assert tick(instance) == NOTHING_LEFT_OUT


def test_a_look_that_outlasts_a_tick_is_left_to_one_run_of_the_checks(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aboutness_assets.acceptance.evaluate.LONG_LOOK_ABOVE_BYTES", -1)
    instance.report_run_canceled(created_run(instance, "song_aboutness_backfill"))

    launched = sensor_result(instance, "what the runs were before")

    assert launched.skip_reason is None
    assert launched.cursor is None  # the next tick looks again
    assert len(launched.run_requests or ()) == 1
    run = created_run(instance, "aboutness_checks")
    assert tick(instance).endswith(f"The run {run.run_id[:8]} of aboutness_checks does that.")
    instance.report_run_canceled(run)
    assert "ended as CANCELED: none is launched before" in tick(instance)

    assert execute(instance, created_run(instance, "aboutness_checks"))

    assert tick(instance) == NOTHING_LEFT_OUT

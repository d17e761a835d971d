"""The sensor that launches runs for new songs: within the cap, one at a time, and never for what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from aboutness_assets.definitions import defs
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.sensors import new_songs_to_runs
from tests.support.dagster_project import DagsterProject, range_tags
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

FIRST, SECOND, THIRD = RANGES = ("000000001-000000010", "000000011-000000020", "000000021-000000030")


@pytest.fixture
def project(
    make_service: Callable[..., ServiceDatabase],
    stand_in: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> DagsterProject:
    service = make_service(songs=[(1, "A title", "An artist"), (11, "Another", "Artist")])
    made = DagsterProject.create(tmp_path / "home", service, stand_in, ABOUTNESS_MAX_USD="1")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def instance(project: DagsterProject) -> Iterator[dg.DagsterInstance]:
    with project.instance() as opened:
        opened.add_dynamic_partitions(SONG_ID_RANGES, list(RANGES))
        yield opened


def tick(instance: dg.DagsterInstance) -> dict[str, str] | str:
    """The tags of the run that is launched, or why none is."""
    with dg.build_sensor_context(
        instance=instance, resources={"settings": SettingsResource()}, definitions=defs
    ) as context:
        result = new_songs_to_runs(context)
    if isinstance(result, dg.SkipReason):
        return result.skip_message or ""
    assert isinstance(result, dg.SensorResult)
    if not result.run_requests:
        assert isinstance(result.skip_reason, dg.SkipReason)
        return result.skip_reason.skip_message or ""
    [request] = result.run_requests
    return dict(request.tags)


def run(instance: dg.DagsterInstance, tags: dict[str, str]) -> bool:
    """Execute the run as the daemon would."""
    done = defs.resolve_job_def("song_aboutness_backfill").execute_in_process(
        instance=instance, tags=tags, raise_on_error=False
    )
    return done.success


def test_new_songs_get_one_run_that_fills_their_neighboring_ranges(
    project: DagsterProject, instance: dg.DagsterInstance, stand_in: StandIn
) -> None:
    tags = tick(instance)
    assert tags == {**range_tags(FIRST, SECOND), "aboutness/new_songs": "2"}
    assert run(instance, tags)
    assert project.sql("select count(*) from song_aboutness") == [(2,)]
    assert tick(instance) == (
        "0 new songs without a row in 0 neighboring partitions; 0 that failed are left out; 3 of 3 "
        "partitions were looked at."
    )

    # A song that fails is left to others; the range's next song is not.
    with psycopg.connect(project.service.admin_url) as admin:
        admin.execute("insert into songs values (21, 'A poisoned title', 'Somebody')")
    stand_in.control({"poison": {"A poisoned title": "refusal"}})
    tags = tick(instance)
    assert tags == {"dagster/partition": THIRD, "aboutness/new_songs": "1"}
    assert not run(instance, tags)
    assert "failed: nothing is launched before" in tick(instance)
    assert run(instance, {"dagster/partition": FIRST})
    assert "0 new songs without a row in 0 neighboring partitions; 1 that failed are" in tick(instance)


def test_nothing_is_launched_without_a_cap_beside_another_run_or_when_the_budget_is_spent(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as capless:
        capless.setenv("ABOUTNESS_MAX_USD", "")
        assert tick(instance) == "ABOUTNESS_MAX_USD is not set: without a cap no run is launched."
    with monkeypatch.context() as spent:
        spent.setenv("ABOUTNESS_MAX_USD", "0")
        assert "Nothing is launched, as the budget 'default' is spent" in tick(instance)

    job = defs.resolve_job_def("song_aboutness_backfill")
    active = instance.create_run_for_job(job_def=job, tags={"dagster/partition": FIRST})
    assert tick(instance) == f"The run {active.run_id[:8]} is active: no other run is launched."
    instance.report_run_canceled(active)
    said = tick(instance)
    assert f"The run {active.run_id[:8]} was canceled: nothing is launched before" in said


def test_it_is_off_until_somebody_turns_it_on() -> None:
    assert new_songs_to_runs.default_status is dg.DefaultSensorStatus.STOPPED

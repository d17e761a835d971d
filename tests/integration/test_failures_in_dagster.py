"""What Dagster shows when a database fails under the parts that ask nothing of a provider: one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import dagster as dg
import psycopg
import pytest

from aboutness_assets.definitions import defs
from aboutness_assets.domain.errors import AboutnessError
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.readiness_report import readiness_report
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.sensors import song_id_ranges_in_step
from tests.support.service_database import SERVICE_ROLE, ServiceDatabase

MakeService = Callable[..., ServiceDatabase]
Break = Callable[[ServiceDatabase, pytest.MonkeyPatch], None]

RANGE = "000000001-000001000"


def service_away(service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", re.sub(r":\d+/", ":1/", service.url))


def operations_away(service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", re.sub(r":\d+/", ":1/", service.ops_url))


def songs_unreadable(service: ServiceDatabase, _: pytest.MonkeyPatch) -> None:
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("set event_triggers = off")
        admin.execute(f"revoke select on songs from {SERVICE_ROLE}")


@pytest.fixture
def service(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> ServiceDatabase:
    made = make_service(songs=[(1, "A title", "An artist")])
    monkeypatch.setenv("DATABASE_URL", made.url)
    monkeypatch.setenv("DAGSTER_PG_URL", made.ops_url)
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def assert_one_sentence(failure: BaseException, words: str) -> None:
    assert isinstance(failure, dg.Failure)
    assert re.search(words, str(failure))
    assert "\n" not in str(failure)
    assert isinstance(failure.__cause__, AboutnessError)


SERVICE_AWAY = (service_away, r"service's Postgres \(DATABASE_URL\) cannot be used: .*refused")
OPERATIONS_AWAY = (operations_away, r"Postgres \(DAGSTER_PG_URL\) cannot be used: .*refused")
SONGS_UNREADABLE = (songs_unreadable, "permission denied for table songs")


@pytest.mark.parametrize(("breaks", "words"), [SERVICE_AWAY, SONGS_UNREADABLE])
def test_a_readiness_report_that_cannot_read_the_service_says_so(
    service: ServiceDatabase,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    breaks: Break,
    words: str,
) -> None:
    instance.add_dynamic_partitions(SONG_ID_RANGES, [RANGE])
    breaks(service, monkeypatch)
    with pytest.raises(dg.Failure) as failure:
        dg.materialize([readiness_report], instance=instance, resources={"settings": SettingsResource()})
    assert_one_sentence(failure.value, words)


@pytest.mark.parametrize(("breaks", "words"), [SERVICE_AWAY, OPERATIONS_AWAY, SONGS_UNREADABLE])
def test_partitions_that_cannot_be_created_say_why(
    service: ServiceDatabase,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    breaks: Break,
    words: str,
) -> None:
    breaks(service, monkeypatch)
    with pytest.raises(dg.Failure) as failure:
        defs.resolve_job_def("sync_song_id_ranges").execute_in_process(instance=instance)
    assert_one_sentence(failure.value, words)
    with (
        pytest.raises(dg.Failure) as tick,
        dg.build_sensor_context(
            instance=instance, resources={"settings": SettingsResource()}, definitions=defs
        ) as context,
    ):
        song_id_ranges_in_step(context)
    assert_one_sentence(tick.value, words)
    assert instance.get_dynamic_partitions(SONG_ID_RANGES) == []


def test_without_a_fault_both_do_their_work(service: ServiceDatabase, instance: dg.DagsterInstance) -> None:
    with dg.build_sensor_context(
        instance=instance, resources={"settings": SettingsResource()}, definitions=defs
    ) as context:
        assert song_id_ranges_in_step(context) == dg.SkipReason(f"1 partition added: {RANGE}.")
    done = dg.materialize([readiness_report], instance=instance, resources={"settings": SettingsResource()})
    [materialized] = done.get_asset_materialization_events()
    metadata = materialized.materialization.metadata
    assert (metadata["songs"].value, metadata["songs_with_row"].value) == (1, 0)

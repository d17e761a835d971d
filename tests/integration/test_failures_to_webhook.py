"""Failed runs are told to a webhook once, on Dagster's real storage and over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from aboutness_assets.definitions import defs
from aboutness_assets.orchestration import webhook as posting
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.sensors import failures_to_webhook
from tests.support.dagster_project import API_KEY, DagsterProject
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn
from tests.support.webhook_server import Webhook, webhook_server

RANGE = "000000001-000001000"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with webhook_server() as running:
        yield running


@pytest.fixture
def instance(
    make_service: Callable[..., ServiceDatabase],
    stand_in: StandIn,
    webhook: Webhook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dg.DagsterInstance]:
    service = make_service(songs=[(1, "A title", "An artist"), (2, "Another", "Artist")])
    project = DagsterProject.create(
        tmp_path / "home", service, stand_in, ABOUTNESS_WEBHOOK_URL=webhook.url, ABOUTNESS_MAX_USD="1"
    )
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(posting, "WAITS_SECONDS", (0.0, 0.0))
    with project.instance() as opened:
        opened.add_dynamic_partitions(SONG_ID_RANGES, [RANGE])
        yield opened
    project.assert_no_secret_kept()


def fail(instance: dg.DagsterInstance, **config: str) -> str:
    done = defs.resolve_job_def("song_aboutness_backfill").execute_in_process(
        instance=instance,
        partition_key=RANGE,
        run_config={"resources": {"settings": {"config": config}}},
        raise_on_error=False,
    )
    assert not done.success
    return done.run_id


def tick(instance: dg.DagsterInstance) -> str:
    with dg.build_sensor_context(
        instance=instance, resources={"settings": SettingsResource()}, definitions=defs
    ) as context:
        said = failures_to_webhook(context)
    assert isinstance(said, dg.SkipReason)
    return said.skip_message or ""


def test_failed_runs_are_told_once_in_one_message(
    instance: dg.DagsterInstance, webhook: Webhook, stand_in: StandIn
) -> None:
    assert tick(instance) == "No run has failed since the last one that was told."
    first = fail(instance, chat_price="nonsense <!channel>")
    second = fail(instance, chat_price="nonsense <!channel>")

    webhook.answers = [500, 500, 500]
    assert tick(instance) == (
        "The webhook could not be told of 2 failed runs: HTTP 500. It is tried again at every tick, until an "
        "hour after the failure."
    )
    webhook.texts.clear()
    assert tick(instance) == "Told of 2 failed runs."
    assert tick(instance) == "No run has failed since the last one that was told."

    [text] = webhook.texts
    told, link, standing = text.splitlines()
    assert told.startswith(f"2 runs of song_aboutness_backfill failed ({RANGE} and others): ")
    assert "ABOUTNESS_CHAT_PRICE: must be input,cached,output" in told
    assert "<" not in text
    assert link in [f"http://127.0.0.1:3000/runs/{run_id}" for run_id in (first, second)]
    assert standing == "Songs without a row: 2. Spent: $0.0000 (budget default, cap $1)."
    assert API_KEY not in text
    assert {run.tags["aboutness/webhook"] for run in instance.get_runs()} == {"told"}


def test_a_webhook_that_refuses_is_asked_once_and_no_database_is_needed(
    instance: dg.DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("DATABASE_URL", "postgresql://user:a-long-password@127.0.0.1:1/service")
        fail(instance)
        webhook.answers = [404]
        said = tick(instance)

    assert said == "The webhook refused to be told of 1 failed run: HTTP 404. Check ABOUTNESS_WEBHOOK_URL."
    assert tick(instance) == "No run has failed since the last one that was told."
    [text] = webhook.texts
    assert "cannot be used" in text
    assert text.endswith("Songs left and dollars spent could not be counted.")
    assert "a-long-password" not in text


def test_without_an_address_nothing_is_told(
    instance: dg.DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(instance, chat_price="nonsense")
    monkeypatch.setenv("ABOUTNESS_WEBHOOK_URL", "")
    assert tick(instance) == "ABOUTNESS_WEBHOOK_URL is not set: nothing is told."
    assert webhook.texts == []

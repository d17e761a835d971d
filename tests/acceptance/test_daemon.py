"""Dagster's daemon and webserver: the sensor, a backfill, a canceled run, a killed worker, failed songs."""

from __future__ import annotations

import os
import signal
import urllib.error
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from aboutness_local.postgres import EmbeddedPostgres
from tests.support.catalogue_of_songs import real_songs
from tests.support.dagster_project import CHECKS, MODULE, DagsterDev, DagsterProject, poll
from tests.support.service_database import drop_service, make_service
from tests.support.stand_in import StandIn
from tests.support.webhook_server import Webhook, webhook_server

BACKFILLED = ("000000001-000000050", "000000051-000000100", "000000101-000000150")
CANCELED = "000001001-000001050"
KILLED = "000002001-000002050"
WITH_FAILURES = "000003001-000003050"
UNTOUCHED = [f"{lower:09}-{lower + 49:09}" for lower in range(4001, 4201, 50)]
"""More than half of the songs, filled by no test: the whole is never ready, in whatever order they run."""

SONG_IDS = [
    *range(1, 21),
    *range(51, 71),
    *range(101, 121),
    *range(1001, 1051),
    *range(2001, 2051),
    *range(3001, 3011),
    *range(4001, 4201),
]

BACKFILL_SECONDS = 120
"""The backfill daemon looks every 30 s."""

VERDICT_SECONDS = 60
"""The sensors look every 15 and 30 s."""


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """Where failed runs are told."""
    with webhook_server() as running:
        yield running


@pytest.fixture(scope="module")
def dev(
    postgres_server: EmbeddedPostgres,
    stand_in_of_session: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
    webhook: Webhook,
) -> Iterator[DagsterDev]:
    """``dagster dev`` over a catalogue of ten ranges; each test has its own ranges."""
    stand_in_of_session.reset()
    service = make_service(postgres_server, songs=real_songs(len(SONG_IDS), SONG_IDS))
    project = DagsterProject.create(
        tmp_path_factory.mktemp("daemon") / "home",
        service,
        stand_in_of_session,
        ABOUTNESS_RANGE_SIZE="50",
        ABOUTNESS_WEBHOOK_URL=webhook.url,
    )
    with project.dev() as running:
        ranges = {*BACKFILLED, CANCELED, KILLED, WITH_FAILURES, *UNTOUCHED}
        poll(lambda: set(project.ranges()) == ranges, 60, "the sensor to create the partitions")
        yield running
    project.assert_no_secret_kept()
    drop_service(postgres_server, service)


def rows_between(project: DagsterProject, range_key: str) -> int:
    lower, upper = (int(bound) for bound in range_key.split("-"))
    query = "select count(*) from song_aboutness where song_id between %s and %s"
    return int(project.sql(query, lower, upper)[0][0])


def chat_requests(stand_in: StandIn) -> list[dict[str, Any]]:
    return [request for request in stand_in.requests()["requests"] if request["route"] == "chat"]


def times_asked(stand_in: StandIn) -> Counter[int]:
    """How many songs were asked for once, twice, and so on."""
    songs = Counter(
        (song["title"], song["artist"]) for request in chat_requests(stand_in) for song in request["songs"]
    )
    return Counter(songs.values())


def smoke_runs(dev: DagsterDev) -> int:
    return sum(run.job_name == "aboutness_smoke" for run in dev.runs({}))


def test_a_backfill_launched_as_the_ui_does_fills_every_range_and_runs_the_checks(
    dev: DagsterDev, stand_in: StandIn
) -> None:
    backfill = dev.launch_backfill(list(BACKFILLED))

    def ended() -> bool:
        runs = dev.runs({"dagster/backfill": backfill})
        return len(runs) == 1 and all(run.is_finished for run in runs)

    poll(ended, BACKFILL_SECONDS, "the backfill's run over all ranges to end")
    [run] = dev.runs({"dagster/backfill": backfill})
    assert run.status.value == "SUCCESS"
    assert (run.tags["progress"], run.tags["left"]) == ("done: 100 %, 60 rows written", "0 songs")
    progress = dev.project.progress()
    assert all(len(each["progress"]) < 1_000 for each in progress)
    assert f"](/runs/b/{backfill})" in progress[-1]["links"]
    assert (progress[-1]["songs_left"], progress[-1]["songs_written"]) == (0, 60)
    usd = progress[-1]["usd_spent"]
    assert usd > 0
    assert run.tags["spent"] == f"${usd:.4f} (pretend price)"
    materialized = dev.project.materializations()
    assert {key: materialized[key]["songs_written"] for key in BACKFILLED} == dict.fromkeys(BACKFILLED, 20)
    assert [rows_between(dev.project, key) for key in BACKFILLED] == [20, 20, 20]
    assert dev.project.checks() == {**dict.fromkeys(CHECKS, True), "ready_to_enable": False}
    assert times_asked(stand_in) == {1: 60}


def test_the_launchpad_refuses_secrets_and_variables_before_a_run_is_created(
    dev: DagsterDev, stand_in: StandIn
) -> None:
    launch = """mutation ($params: ExecutionParams!) {
      launchRun(executionParams: $params) {
        __typename
        ... on RunConfigValidationInvalid { errors { message } }
        ... on PythonError { message stack causes { message stack } } } }"""
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": MODULE,
        "jobName": "aboutness_smoke",
    }
    for given in ("sk-proj-abcdefgh", "https://example.com/abcdefgh", {"env": "OPENAI_API_KEY"}):
        config = {"resources": {"settings": {"config": {"chat_model": given}}}}
        before = smoke_runs(dev)
        try:
            answer = str(dev.graphql(launch, params={"selector": selector, "runConfigData": config}))
        except urllib.error.HTTPError as error:  # what Dagster answers where code of ours refuses
            answer = error.read().decode()
        sentence = "looks like a key, a password or an address"
        assert (sentence if isinstance(given, str) else "RunConfigValidationInvalid") in answer
        assert "abcdefgh" not in answer
        assert dev.project.environment["OPENAI_API_KEY"] not in answer
        assert smoke_runs(dev) == before
    assert chat_requests(stand_in) == []


def test_a_canceled_run_ends_as_canceled_and_keeps_what_was_paid_for(
    dev: DagsterDev, stand_in: StandIn
) -> None:
    stand_in.control({"latency_seconds": {"chat": 2}, "chat": {"script": ["hang"]}})
    run_id = dev.launch_range(CANCELED)
    poll(lambda: len(chat_requests(stand_in)) == 5, 60, "five requests to be in flight")
    dev.cancel(run_id)
    dev.wait_for(run_id, "CANCELED", seconds=30)
    with dev.project.instance() as instance:
        said = [entry.user_message for entry in instance.all_logs(run_id)]
    [line] = [line for line in said if line.startswith("The run was canceled: ")]
    assert "songs of its own left; $" in line
    rows = rows_between(dev.project, CANCELED)
    assert rows < 50
    [run] = [run for run in dev.runs({}) if run.run_id == run_id]
    assert run.tags["progress"] == f"canceled: {2 * rows} %, {rows} rows written"
    assert run.tags["left"] == f"{50 - rows} songs"
    last = dev.project.progress()[-1]
    assert (last["songs_left"], last["songs_written"]) == (50 - rows, rows)
    assert last["runs"].endswith("was canceled")

    stand_in.control({})
    # The run skipped its checks; without a click they say again what the table is.
    poll(
        lambda: {*dev.shown_checks().values()} <= {"SUCCEEDED", "FAILED"},
        VERDICT_SECONDS,
        "the checks to be evaluated after the canceled run",
    )
    shown = dev.shown_checks()
    assert shown.pop("ready_to_enable") == "FAILED"
    assert shown.pop("no_failed_songs") in ("SUCCEEDED", "FAILED")
    assert {*shown.values()} == {"SUCCEEDED"}
    dev.wait_for(dev.launch_range(CANCELED), "SUCCESS")
    assert rows_between(dev.project, CANCELED) == 50
    # Only the pack that hung was asked for again.
    assert times_asked(stand_in) == {1: 40, 2: 10}


def test_a_run_whose_process_is_killed_is_retried_and_asks_only_what_was_in_flight_again(
    dev: DagsterDev, stand_in: StandIn, webhook: Webhook
) -> None:
    stand_in.control({"latency_seconds": {"chat": 1}})
    run_id = dev.launch_range(KILLED, max_in_flight=1)
    poll(lambda: len(chat_requests(stand_in)) == 3, 60, "the third request to be in flight")
    with dev.project.instance() as instance:
        started = instance.all_logs(run_id, of_type=dg.DagsterEventType.PIPELINE_START)
        worker = started[0].get_dagster_event().pid
    assert worker is not None
    os.kill(worker, signal.SIGKILL)

    retries = poll(lambda: dev.runs({"dagster/root_run_id": run_id}), 60, "Dagster to retry the run")
    dev.wait_for(retries[0].run_id, "SUCCESS")
    assert dev.status(run_id) == "FAILURE"
    assert rows_between(dev.project, KILLED) == 50
    assert times_asked(stand_in) == {1: 40, 2: 10}
    assert dev.project.materializations()[KILLED]["uncertain_requests"] == 1
    poll(lambda: webhook.texts, VERDICT_SECONDS, "the webhook to be told of the killed run")
    [text] = webhook.texts
    assert text.startswith(f"song_aboutness_backfill failed ({KILLED}): ")
    assert " Dagster starts it again.\n" in text
    assert f"http://127.0.0.1:3000/runs/{run_id}\nSongs without a row: " in text


def test_the_metadata_of_a_partition_lists_its_failed_songs_with_their_reason(
    dev: DagsterDev, stand_in: StandIn
) -> None:
    title = dev.project.sql("select title from songs where song_id = 3004")[0][0]
    stand_in.control({"poison": {title: "refusal"}})
    dev.wait_for(dev.launch_range(WITH_FAILURES), "SUCCESS")
    metadata = dev.project.materializations()[WITH_FAILURES]
    assert (metadata["songs_written"], metadata["songs_failed"]) == (9, 1)
    table = metadata["failed_songs"].splitlines()
    assert table[:2] == ["| song_id | cause | reason |", "|---|---|---|"]
    assert table[2].startswith("| 3004 | refused | ")

"""The project as people run it: Dagster's commands as subprocesses, its webserver and daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch
from urllib.parse import urlsplit

import dagster as dg
import psycopg

from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

T = TypeVar("T")

MODULE = "aboutness_assets.definitions"
ASSET = dg.AssetKey("song_aboutness")
RANGES = "song_id_ranges"
API_KEY = "sk-secret-of-the-acceptance-tests"

JOB_SECONDS = 120
START_SECONDS = 300
STOP_SECONDS = 10


RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags of a run over several partitions, in the order in which they were created."""
    return {RANGE_START: first, RANGE_END: last}


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    exit_code: int
    output: str


@dataclass(frozen=True)
class DagsterProject:
    """The project with a DAGSTER_HOME of its own, for one service."""

    home: Path
    service: ServiceDatabase
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def create(
        cls, home: Path, service: ServiceDatabase, stand_in: StandIn, **settings: str
    ) -> DagsterProject:
        """A home with a copy of the project's dagster.yaml; settings are further environment variables."""
        home.mkdir()
        shutil.copy(Path(__file__).parents[2] / "dagster.yaml", home)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ABOUTNESS_", "DAGSTER_", "OPENAI_", "PG"))
        }
        environment = {
            **inherited,
            "DAGSTER_HOME": str(home),
            "DATABASE_URL": service.url,
            "DAGSTER_PG_URL": service.ops_url,
            "OPENAI_BASE_URL": stand_in.base_url,
            "OPENAI_API_KEY": API_KEY,
            "ABOUTNESS_CHAT_MODEL": "stand-in-writer",
            "ABOUTNESS_EMBEDDING_MODEL": "stand-in-wordllama",
            "ABOUTNESS_CHAT_PRICE": "0.10,0.01,0.50 (pretend price of the tests)",
            "ABOUTNESS_EMBEDDING_PRICE": "0.02 (pretend price of the tests)",
            "ABOUTNESS_RATE_LIMIT_WAITS": "0.1,0.2",
            **settings,
        }
        return cls(home, service, environment)

    def execute(
        self,
        job: str,
        *,
        partition: str | None = None,
        partitions: tuple[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        without: str | None = None,
        **settings: str,
    ) -> Finished:
        """Run ``dagster job execute`` in an empty directory; fails when the output shows a secret.

        partitions: the first and the last of several.
        """
        command = [_script("dagster"), "job", "execute", "-m", MODULE, "-j", job]
        if partition is not None:
            command += ["--tags", json.dumps({"dagster/partition": partition})]
        if partitions is not None:
            command += ["--tags", json.dumps(range_tags(*partitions))]
        if config is not None:
            file = self.home / "run_config.json"
            file.write_text(json.dumps(config))
            command += ["-c", str(file)]
        environment = {
            name: value for name, value in {**self.environment, **settings}.items() if name != without
        }
        done = subprocess.run(
            command,
            env=environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=JOB_SECONDS,
            check=False,
        )
        finished = Finished(done.returncode, done.stdout)
        assert not [secret for secret in self._secrets() if secret in finished.output]
        return finished

    def must(self, job: str, **arguments: Any) -> str:
        """Like execute, for a job that has to succeed; returns its output."""
        finished = self.execute(job, **arguments)
        assert finished.exit_code == 0, finished.output
        return finished.output

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement as a superuser in the service's database; returns its rows."""
        with psycopg.connect(self.service.admin_url) as admin:
            cursor = admin.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def progress(self) -> list[dict[str, Any]]:
        """The metadata of every observation of backfill_progress, the first one first."""
        with self.instance() as instance:
            records = instance.fetch_observations(dg.AssetKey("backfill_progress"), limit=1000).records
        observations = [record.event_log_entry.asset_observation for record in reversed(records)]
        return [
            {name: value.value for name, value in observation.metadata.items()}
            for observation in observations
            if observation is not None
        ]

    @contextmanager
    def event_log_locked(self) -> Iterator[None]:
        """While this lasts, every write to Dagster's event log waits."""
        with psycopg.connect(self.service.ops_url) as connection:
            connection.execute("lock table event_logs in exclusive mode")
            yield

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance, opened in this process."""
        with (
            patch.dict(os.environ, self.environment),
            dg.DagsterInstance.from_config(str(self.home)) as opened,
        ):
            yield opened

    def ranges(self) -> list[str]:
        """The partition keys, in the order in which they were created."""
        with self.instance() as instance:
            return list(instance.get_dynamic_partitions(RANGES))

    def add_partitions(self, *keys: str) -> tuple[str, ...]:
        """Add partition keys without reading the catalogue; returns them."""
        with self.instance() as instance:
            instance.add_dynamic_partitions(RANGES, keys)
        return keys

    def materializations(self) -> dict[str, dict[str, Any]]:
        """The metadata of the latest materialization of each partition, as plain values."""
        return {
            str(one.partition): {name: value.value for name, value in one.metadata.items()}
            for one in self._materializations()
        }

    def materialized_partitions(self) -> list[str]:
        """The partition of each materialization, in the order of the event log."""
        return [str(one.partition) for one in self._materializations()]

    def observed_rows(self) -> dict[str, object]:
        """The latest row count that was observed of each of the service's tables."""
        with self.instance() as instance:
            records = [
                record
                for name in ("songs", "song_aboutness")
                for record in instance.fetch_observations(dg.AssetKey(name), limit=1).records
            ]
        return {
            one.asset_key.to_user_string(): one.metadata["dagster/row_count"].value
            for record in records
            if (one := record.asset_observation) is not None
        }

    def _materializations(self) -> list[dg.AssetMaterialization]:
        with self.instance() as instance:
            records = instance.fetch_materializations(ASSET, limit=1000, ascending=True).records
        return [one for record in records if (one := record.asset_materialization) is not None]

    def checks(self) -> dict[str, bool]:
        """Whether the latest finished execution of each of the contract's checks passed."""
        with self.instance() as instance:
            keys = [dg.AssetCheckKey(ASSET, name) for name in CHECKS]
            summaries = instance.event_log_storage.get_asset_check_summary_records(keys)
        finished = {key.name: one.last_completed_check_execution_record for key, one in summaries.items()}
        return {name: one.status.value == "SUCCEEDED" for name, one in finished.items() if one is not None}

    def assert_no_secret_kept(self) -> None:
        """No secret is in what Dagster, or this project, keeps in its own Postgres."""
        with psycopg.connect(self.service.ops_url) as connection:
            tables = connection.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables"
                " where schemaname in ('public', 'aboutness_ops')"
            ).fetchall()
            for (table,) in tables:
                for secret in self._secrets():
                    found = connection.execute(
                        f"select count(*) from {table} row where row::text like %s".encode(), [f"%{secret}%"]
                    ).fetchone()
                    assert found == (0,), f"{table} contains a secret"

    @contextmanager
    def dev(self) -> Iterator[DagsterDev]:
        """``dagster dev`` on a free port of loopback."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log_path = self.home / "dev.log"
        with log_path.open("w") as log:
            process = subprocess.Popen(
                [_script("dagster"), "dev", "-h", "127.0.0.1", "-p", str(port), "-m", MODULE],
                env=dict(self.environment),
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            dev = DagsterDev(self, f"http://127.0.0.1:{port}")
            try:
                poll(lambda: process.poll() is not None or dev.is_up(), START_SECONDS, "dagster dev to start")
                assert process.poll() is None, log_path.read_text()
                yield dev
            finally:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
                _kill_group(process.pid)
                process.wait()
        assert not [secret for secret in self._secrets() if secret in log_path.read_text()]

    def _secrets(self) -> list[str]:
        urls = (self.service.url, self.service.ops_url)
        passwords = [str(urlsplit(url).password) for url in urls]
        webhook = urlsplit(self.environment.get("ABOUTNESS_WEBHOOK_URL", "")).path
        return [*passwords, self.environment["OPENAI_API_KEY"], *filter(None, [webhook])]


CHECKS = (
    "emotions_text_within_100_chars",
    "moments_text_within_100_chars",
    "emotions_text_without_confidence_tag",
    "moments_text_without_confidence_tag",
    "new_rows_complete",
    "old_style_rows_untouched",
    "ready_to_enable",
)


@dataclass(frozen=True)
class DagsterDev:
    """A running webserver with its daemon."""

    project: DagsterProject
    url: str

    def is_up(self) -> bool:
        """Whether the webserver answers and has loaded the code location."""
        try:
            nodes = self.graphql("{ assetNodes { id } }")["assetNodes"]
        except OSError:
            return False
        return bool(nodes)

    def graphql(self, query: str, **variables: Any) -> Any:
        """The data of an answer without errors."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer
        return answer["data"]

    def launch_backfill(self, partitions: list[str]) -> str:
        """Launch a backfill as the asset page does; returns its id."""
        launched = self.graphql(
            """mutation ($params: LaunchBackfillParams!) {
                 launchPartitionBackfill(backfillParams: $params) {
                   __typename
                   ... on LaunchBackfillSuccess { backfillId }
                   ... on PythonError { message } } }""",
            params={"assetSelection": [{"path": list(ASSET.path)}], "partitionNames": partitions},
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def launch_range(self, partition: str, **settings: Any) -> str:
        """Launch a run of song_aboutness_backfill over one partition; returns the run's id.

        settings override those of the environment, as the launchpad does.
        """
        launched = self.graphql(
            """mutation ($params: ExecutionParams!) {
                 launchRun(executionParams: $params) {
                   __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            params={
                "selector": {
                    "repositoryName": "__repository__",
                    "repositoryLocationName": MODULE,
                    "jobName": "song_aboutness_backfill",
                },
                "runConfigData": {"resources": {"settings": {"config": settings}}},
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
            },
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def runs(self, tags: dict[str, str]) -> list[dg.DagsterRun]:
        """The runs with these tags, the latest first."""
        with self.project.instance() as instance:
            return list(instance.get_runs(dg.RunsFilter(tags=tags)))

    def status(self, run_id: str) -> str:
        """The status of a run, such as STARTED."""
        query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(self.graphql(query, id=run_id)["runOrError"]["status"])

    def shown_checks(self) -> dict[str, str]:
        """What the asset's page shows of each check, such as SUCCEEDED or EXECUTION_FAILED."""
        [node] = self.graphql(
            """query ($key: AssetKeyInput!) { assetNodes(assetKeys: [$key]) { assetChecksOrError {
                 ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } }""",
            key={"path": list(ASSET.path)},
        )["assetNodes"]
        found = {
            check["name"]: check["executionForLatestMaterialization"]
            for check in node["assetChecksOrError"]["checks"]
        }
        return {name: execution["status"] if execution else "" for name, execution in found.items()}

    def cancel(self, run_id: str) -> None:
        """Cancel a run as the UI's Terminate does."""
        ended = self.graphql(
            "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id
        )["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess", ended

    def wait_for(self, run_id: str, status: str, seconds: float = 60) -> None:
        """Wait until a run ends; its status must then be this one."""
        ends = ("SUCCESS", "FAILURE", "CANCELED")
        ended = poll(
            lambda: found if (found := self.status(run_id)) in ends else "",
            seconds,
            f"the run to be {status}",
        )
        assert ended == status


def poll(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Wait until the condition is true and return its value; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"Waited {seconds} s for {what}."
        time.sleep(0.2)
    return result


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)

"""One host, long-lived: the commands of the units, an upgrade in mid-backfill, and aboutness-health."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from aboutness_assets.orchestration.health import look
from tests.support.backfills import sample_songs
from tests.support.dagster_project import DagsterProject, poll
from tests.support.stand_in import StandIn

ROOT = Path(__file__).parents[2]
HOST = ROOT / "deploy" / "host"
SONGS = 200
PACK = 10
HEALTH = str(Path(sys.executable).with_name("aboutness-health"))


def health(project: DagsterProject, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [HEALTH, *arguments],
        env=dict(project.environment),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert not [word for word in ("sk-secret", "-of-the-tests") if word in done.stdout + done.stderr]
    return done.returncode, done.stdout


def songs_asked_in_packs(stand_in: StandIn) -> Counter[tuple[str, str]]:
    """How often each song was asked for in a whole pack; what is asked for again comes in smaller ones."""
    packs = [request["songs"] for request in stand_in.requests()["requests"] if request.get("songs")]
    return Counter((song["title"], song["artist"]) for pack in packs if len(pack) == PACK for song in pack)


def test_one_line_says_what_is_wrong(
    make_project: Callable[..., DagsterProject], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project([])
    exit_code, line = health(project)
    assert exit_code == 1
    assert line.startswith("NOT OK: no heartbeat for 300 s from Dagster's daemons ")
    assert line.count("\n") == 1
    with psycopg.connect(project.service.ops_url) as connection:
        assert connection.execute("select to_regclass('aboutness_ops.attempt')").fetchone() == (None,)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hidden-word@127.0.0.1:1/none")
    [problem] = look()[1]
    assert problem.startswith("The service's Postgres (DATABASE_URL) cannot be used")
    assert "hidden-word" not in problem


def is_serving(project: DagsterProject, port: int) -> bool:
    """What ExecStartPost of the code server waits for."""
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "api",
        "grpc-health-check",
        "--port",
        str(port),
    ]
    done = subprocess.run(command, env=dict(project.environment), capture_output=True, check=False)
    return done.returncode == 0


class Unit:
    """A unit as systemd would run it: its command, in a process group that stands for its control group."""

    def __init__(self, project: DagsterProject, name: str, port: int) -> None:
        [command] = [
            line.removeprefix("ExecStart=")
            for line in (HOST / f"aboutness-{name}.service").read_text().splitlines()
            if line.startswith("ExecStart=")
        ]
        workspace = project.home / "workspace.yaml"
        workspace.write_text((HOST / "workspace.yaml").read_text().replace("4266", str(port)))
        self._command = [
            part.replace("/opt/aboutness/current/.venv/bin", str(Path(sys.executable).parent))
            .replace("/opt/aboutness/current/deploy/host/workspace.yaml", str(workspace))
            .replace("4266", str(port))
            for part in shlex.split(command)
        ]
        self._project = project
        self._log = project.home / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._project.environment),
                cwd=self._project.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """SIGTERM to every process, as KillMode=control-group has it, and a wait for all of them."""
        assert self._process is not None
        group = self._process.pid

        def is_over() -> bool:
            assert self._process is not None
            self._process.poll()
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return True
            return False

        os.killpg(group, signal.SIGTERM)
        try:
            poll(is_over, 60, "the unit to stop")
        finally:
            if not is_over():
                os.killpg(group, signal.SIGKILL)


@contextmanager
def running(*units: Unit) -> Iterator[None]:
    for unit in units:
        unit.start()
    try:
        yield
    finally:
        for unit in reversed(units):
            unit.stop()


@pytest.mark.soak
def test_the_code_server_is_changed_in_mid_backfill_and_nothing_is_lost_or_paid_twice(
    make_project: Callable[..., DagsterProject], stand_in: StandIn
) -> None:
    project = make_project(sample_songs(SONGS), ABOUTNESS_MAX_IN_FLIGHT="1")
    project.must("sync_song_id_ranges")
    stand_in.control({"latency_seconds": {"chat": 3}})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code_server, daemon = Unit(project, "code-server", port), Unit(project, "daemon", port)
    workspace = str(project.home / "workspace.yaml")
    with running(code_server, daemon):
        poll(lambda: health(project, "-w", workspace)[0] == 0, 90, "the units to work")
        assert "the code locations load" in health(project, "-w", workspace)[1]
        assert health(project, "--idle") == (0, "ok: no run is in progress\n")
        launched = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("dagster")), "job", "launch", "-w", workspace),
                *("-j", "song_aboutness_backfill"),
                *("--tags", f'{{"dagster/partition": "{project.ranges()[0]}"}}'),
            ],
            env=dict(project.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert launched.returncode == 0, launched.stderr
        poll(lambda: songs_asked_in_packs(stand_in), 150, "the run to ask")
        # As systemd does it: the daemon is bound to the code server, and ordered after it.
        daemon.stop()
        code_server.stop()
        assert len(songs_asked_in_packs(stand_in)) < SONGS
        code_server.start()
        poll(lambda: is_serving(project, port), 90, "the code server to answer")
        daemon.start()

        poll(lambda: len(project.sql("select 1 from song_aboutness")) == SONGS, 240, "the backfill to finish")
    with psycopg.connect(project.service.ops_url) as connection:
        states = connection.execute("select distinct state from aboutness_ops.spending").fetchall()
    assert states == [("billed",)]
    assert set(songs_asked_in_packs(stand_in).values()) == {1}
    with project.instance() as instance:
        runs = [run for run in instance.get_runs() if run.job_name == "song_aboutness_backfill"]
    assert len(runs) == 2  # the second one was started by the daemon alone


@pytest.mark.soak
def test_what_is_backed_up_can_be_restored(make_project: Callable[..., DagsterProject]) -> None:
    """The commands of deploy/host/README.md, with the programs of the embedded server."""
    from aboutness_local.postgres_programs import Programs

    programs = Programs().binaries()
    if not (programs / "pg_dump").exists():
        pytest.skip("this server has no pg_dump")
    project = make_project([])
    project.add_partitions("000000001-000001000")
    dump = project.home / "aboutness.dump"
    url = project.service.ops_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create schema aboutness_ops; create table aboutness_ops.budget (name text)")
        connection.execute("insert into aboutness_ops.budget values ('default')")
    with psycopg.connect(project.service.admin_url, dbname="postgres", autocommit=True) as admin:
        admin.execute("create database restored")
    admin_url = project.service.admin_url.rsplit("/", 1)[0] + "/restored"
    try:
        for command in (
            [programs / "pg_dump", "--format=custom", "--file", dump, url],
            [programs / "pg_restore", "--no-owner", "--dbname", admin_url, dump],
        ):
            done = subprocess.run(
                [str(part) for part in command], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        with psycopg.connect(admin_url) as connection:
            assert connection.execute("select name from aboutness_ops.budget").fetchall() == [("default",)]
            assert connection.execute("select partition from dynamic_partitions").fetchall() == [
                ("000000001-000001000",)
            ]
    finally:
        with psycopg.connect(project.service.admin_url, dbname="postgres", autocommit=True) as admin:
            admin.execute("drop database restored with (force)")

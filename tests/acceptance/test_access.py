"""Access to the UI: where it listens, what it refuses read-only, and the proxy of docs/operating.md."""

from __future__ import annotations

import base64
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.dagster_project import MODULE, START_SECONDS, DagsterDev, DagsterProject, poll
from tests.support.listening_sockets import addresses_of_port, addresses_of_session

pytestmark = pytest.mark.thorough

MakeProject = Callable[..., DagsterProject]

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"

LAUNCH_RUN = """mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename } }"""
LAUNCH_BACKFILL = """mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename } }"""
ADD_PARTITION = """mutation ($selector: RepositorySelector!) {
  addDynamicPartition(partitionsDefName: "song_id_ranges", partitionKey: "000000001-000001000",
    repositorySelector: $selector) { __typename } }"""
WIPE = """mutation {
  wipeAssets(assetPartitionRanges: [{assetKey: {path: ["song_aboutness"]}}]) { __typename } }"""

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": MODULE}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(command: list[str], project: DagsterProject) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command; afterwards it and everything that it started is stopped."""
    with (project.home / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name(command[0]), *command[1:]],
            env=dict(project.environment),
            cwd=project.home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def wait_until_up(dev: DagsterDev, process: subprocess.Popen[bytes]) -> None:
    poll(lambda: process.poll() is not None or dev.is_up(), START_SECONDS, "the webserver to start")
    assert process.poll() is None


def test_dagster_dev_listens_on_loopback_only_by_default(make_project: MakeProject) -> None:
    project, port = make_project([]), free_port()
    with running(["dagster", "dev", "-p", str(port), "-m", MODULE], project) as process:
        wait_until_up(DagsterDev(project, f"http://127.0.0.1:{port}"), process)
        assert addresses_of_port(port) == {"127.0.0.1"}
        listening = addresses_of_session(process.pid)
        assert "127.0.0.1" in listening
        assert listening <= {"127.0.0.1", "::1"}


@pytest.fixture
def read_only(make_project: MakeProject) -> Iterator[DagsterDev]:
    """A read-only webserver, started as docs/operating.md says."""
    project, port = make_project([]), free_port()
    command = re.search(r"dagster-webserver --read-only", PAGE.read_text("utf-8"))
    assert command is not None
    with running([*command[0].split(), "-p", str(port), "-m", MODULE], project) as process:
        dev = DagsterDev(project, f"http://127.0.0.1:{port}")
        wait_until_up(dev, process)
        yield dev


def test_a_read_only_webserver_shows_and_refuses_every_change(read_only: DagsterDev) -> None:
    permissions = read_only.graphql("{ permissions { permission value } }")["permissions"]
    assert permissions
    assert [permission for permission in permissions if permission["value"]] == []
    run = {"selector": {**REPOSITORY, "jobName": "aboutness_smoke"}, "runConfigData": {}}
    backfill = {"assetSelection": [{"path": ["song_aboutness"]}], "partitionNames": ["x"]}
    for mutation, variables in (
        (LAUNCH_RUN, {"params": run}),
        (LAUNCH_BACKFILL, {"params": backfill}),
        (ADD_PARTITION, {"selector": REPOSITORY}),
        (WIPE, {}),
    ):
        [answer] = read_only.graphql(mutation, **variables).values()
        assert answer["__typename"] == "UnauthorizedError"
    assert read_only.project.ranges() == []
    with read_only.project.instance() as instance:
        assert instance.get_runs() == []


@pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx and openssl are not both installed"
)
def test_the_proxy_of_the_page_admits_known_users_only(read_only: DagsterDev, tmp_path: Path) -> None:
    port = free_port()
    with proxy(tmp_path, port, read_only.url):
        known = {"Authorization": "Basic " + base64.b64encode(b"ann:sesame").decode()}
        wrong = {"Authorization": "Basic " + base64.b64encode(b"ann:guess").decode()}
        assert get(port, "/server_info", known).status == 200
        for refused in ({}, wrong):
            for path in ("/", "/server_info", "/graphql"):
                assert get(port, path, refused).status == 401
        websocket = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": "graphql-ws",
        }
        assert get(port, "/graphql", {**known, **websocket}).status == 101
        assert get(port, "/graphql", websocket).status == 401


@contextmanager
def proxy(directory: Path, port: int, upstream: str) -> Iterator[None]:
    """nginx with the server block of the page, except for its ports and paths."""
    block = re.search(r"```nginx\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block is not None
    server = block[1].replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    server = server.replace("/etc/nginx/dagster", f"{directory}/dagster")
    server = server.replace("http://127.0.0.1:3000", upstream)
    hashed = subprocess.run(["openssl", "passwd", "-6", "sesame"], check=True, capture_output=True, text=True)
    (directory / "dagster.htpasswd").write_text(f"ann:{hashed.stdout}")
    (directory / "dagster.htpasswd").chmod(0o644)
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
            ),
            *("-keyout", directory / "dagster.key", "-out", directory / "dagster.pem"),
        ],
        check=True,
        capture_output=True,
    )
    places = "".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # who can read the directory of the test
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"{user} daemon off; pid {directory}/pid; error_log {directory}/error.log;"
        f"events {{}} http {{ access_log off; {places}\n{server}}}"
    )
    nginx = subprocess.Popen(["nginx", "-p", directory, "-c", configuration], stderr=subprocess.PIPE)
    try:
        poll(lambda: nginx.poll() is not None or addresses_of_port(port), 20, "nginx to start")
        assert nginx.poll() is None, nginx.communicate()[1]
        yield
    finally:
        nginx.send_signal(signal.SIGQUIT)
        nginx.wait(20)


def get(port: int, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    context = ssl._create_unverified_context()  # the certificate that this test made
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()

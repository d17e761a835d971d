"""No secret leaks: runs that succeed and runs that fail in every way, then a search everywhere."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.support.catalogue_of_songs import real_songs
from tests.support.dagster_project import DagsterProject, Finished
from tests.support.hostile_words import HOSTILE_WORDS
from tests.support.service_database import OPERATIONS_ROLE, SERVICE_ROLE, ServiceDatabase
from tests.support.stand_in import StandIn

pytestmark = pytest.mark.thorough

MakeService = Callable[..., ServiceDatabase]

# Each secret contains a mark that no encoding of a URL, of JSON or of Python changes.
MARKS = ("Zq7service", "Zq7operations", "Zq7apikey")
SERVICE_PASSWORD = "Zq7service@/?#%: &+'\"\\Zq7service"
OPERATIONS_PASSWORD = "Zq7operations@/?#%: &+Zq7operations"
API_KEY = "sk-Zq7apikey-Zq7apikey"
LEAKED = re.compile("|".join(MARKS))

RANGE = "000000001-000001000"
SERVICE_LOGIN, OPERATIONS_LOGIN = "zq_service_login", "zq_operations_login"


@dataclass(frozen=True)
class Secretive:
    """A project with recognizable secrets, and the output of all its commands."""

    project: DagsterProject
    said: list[str]

    def execute(self, job: str, *, partition: str | None = None, **settings: Any) -> Finished:
        with process_list() as command_lines:
            finished = self.project.execute(job, partition=partition, **settings)
        assert not [line for line in command_lines if LEAKED.search(line)]
        self.said.append(finished.output)
        return finished

    def fails(self, job: str, sentence: str, **arguments: str) -> None:
        """Run a job that cannot succeed; it says why in one sentence of ours."""
        finished = self.execute(job, **arguments)
        assert finished.exit_code != 0
        assert re.search(sentence, finished.output), finished.output


@pytest.fixture
def secretive(make_service: MakeService, stand_in: StandIn, tmp_path: Path) -> Iterator[Secretive]:
    storable = [words.replace("\0", "") for words in HOSTILE_WORDS]
    hostile = [(100 + number, words, words) for number, words in enumerate(storable)]
    service = make_service(songs=[*real_songs(40), *hostile])
    with_secrets = ServiceDatabase(
        url=login(service.url, SERVICE_LOGIN, SERVICE_PASSWORD, SERVICE_ROLE, service.admin_url),
        admin_url=service.admin_url,
        ops_url=login(
            service.ops_url, OPERATIONS_LOGIN, OPERATIONS_PASSWORD, OPERATIONS_ROLE, service.admin_url
        ),
    )
    said: list[str] = []
    project = DagsterProject.create(tmp_path / "home", with_secrets, stand_in, OPENAI_API_KEY=API_KEY)
    yield Secretive(project, said)
    assert said
    assert not [output for output in said if LEAKED.search(output)]
    assert not [name for name, content in kept(with_secrets).items() if LEAKED.search(content)]
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or not LEAKED.search(file.read_bytes().decode(errors="replace")), file


def login(url: str, role: str, password: str, member_of: str, admin_url: str) -> str:
    """The URL with a role of its own, a member of the other one; its password percent-encoded."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("set event_triggers = off")
        if not admin.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone():
            names = sql.Identifier(role), sql.Identifier(member_of)
            admin.execute(sql.SQL("create role {} login in role {}").format(*names))
            verifier = admin.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            admin.execute(sql.SQL("alter role {} password {}").format(names[0], verifier.decode()))
    where = urlsplit(url)
    return f"postgresql://{role}:{quote(password, safe='')}@{where.hostname}:{where.port}{where.path}"


def kept(service: ServiceDatabase) -> dict[str, str]:
    """The content of every table of both databases as Postgres dumps it: raw, so that bytea is text again."""
    contents = {}
    for url in (service.admin_url, service.ops_url):
        with psycopg.connect(url) as connection:
            tables = connection.execute(
                "select schemaname, tablename from pg_tables"
                " where schemaname not in ('pg_catalog', 'information_schema')"
            ).fetchall()
            for names in tables:
                copy_out = sql.SQL("copy {} to stdout (format binary)").format(sql.Identifier(*names))
                with connection.cursor().copy(copy_out) as copy:
                    content = b"".join(bytes(block) for block in copy)
                contents[".".join(names)] = content.decode(errors="replace")
    return contents


@contextmanager
def process_list() -> Iterator[set[str]]:
    """The command lines of all processes that run during the body."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(process.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
    assert any("aboutness_assets.definitions" in line for line in seen)


@contextmanager
def telltale(status: int) -> Iterator[str]:
    """The base URL of an endpoint that embeds, and whose errors for chat requests contain the key it got."""

    class Telltale(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Authorization"]
            if status != 401 and self.path.endswith("/embeddings"):
                data = [{"index": i, "embedding": [1.0] * 8} for i in range(len(body["input"]))]
                self.reply(200, {"data": data})
            else:
                message = f"Incorrect key {key.split()[1]} in '{key}' <{key.split()[1]}>\n\x1b[31m{key}"
                self.reply(status, {"error": {"message": message, "code": key, "param": key}})

        def reply(self, code: int, answer: object) -> None:
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Telltale)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_runs_that_succeed_leak_no_secret(secretive: Secretive) -> None:
    for job, partition in (
        ("sync_song_id_ranges", None),
        ("aboutness_smoke", None),
        ("song_aboutness_backfill", RANGE),
        ("aboutness_checks", None),
    ):
        finished = secretive.execute(job, partition=partition)
        assert finished.exit_code == 0, finished.output
    # The search does see what is kept: run configs and events, and the answers in the journal.
    contents = kept(secretive.project.service)
    assert "aboutness_smoke" in contents["public.runs"]
    assert "songs_written" in contents["public.event_logs"]
    assert "emotions_text" in contents["aboutness_ops.chat_request"]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "does not let us in"),
        (400, "refuses a harmless request too"),
        pytest.param(404, "does not know the chat model", marks=pytest.mark.soak),
    ],
)
def test_a_key_in_the_errors_of_a_provider_is_not_repeated(
    secretive: Secretive, status: int, sentence: str
) -> None:
    with telltale(status) as base_url:
        secretive.fails("aboutness_smoke", sentence, OPENAI_BASE_URL=base_url)
    assert "[secret]" in secretive.said[-1]


def test_a_secret_in_the_configuration_of_a_run_is_neither_stored_nor_shown(secretive: Secretive) -> None:
    url = secretive.project.environment["DATABASE_URL"]
    for job, config, sentence in (
        ("aboutness_smoke", {"chat_model": {"env": "OPENAI_API_KEY"}}, "not valid for expected type"),
        ("aboutness_smoke", {"chat_model": API_KEY}, "looks like a key, a password or an address"),
        ("aboutness_smoke", {"budget": url}, "looks like a key, a password or an address"),
    ):
        finished = secretive.execute(job, config={"resources": {"settings": {"config": config}}})
        assert finished.exit_code != 0
        assert sentence in finished.output
        (secretive.project.home / "run_config.json").unlink()
    with secretive.project.instance() as instance:
        assert instance.get_runs() == []


@pytest.mark.parametrize("key", ["sk-Zq7apikey\nZq7apikey"])
def test_a_key_that_no_request_can_carry_is_refused_and_not_shown(secretive: Secretive, key: str) -> None:
    secretive.fails("aboutness_smoke", "OPENAI_API_KEY holds characters", OPENAI_API_KEY=key)


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("DATABASE_URL", "wrong password"),
        ("DAGSTER_PG_URL", "wrong password"),
        pytest.param("DATABASE_URL", "nobody answers", marks=pytest.mark.soak),
        pytest.param("DAGSTER_PG_URL", "nobody answers", marks=pytest.mark.soak),
        pytest.param("DATABASE_URL", "no such database", marks=pytest.mark.soak),
        pytest.param("DAGSTER_PG_URL", "no such database", marks=pytest.mark.soak),
    ],
)
def test_a_database_that_cannot_be_used_is_reported_without_its_password(
    secretive: Secretive, name: str, trouble: str
) -> None:
    url = secretive.project.environment[name]
    where = urlsplit(url)
    wrong, sentence = {
        "wrong password": (
            url.replace(f":{where.password}@", ":Zq7service%2FZq7operations@"),
            "password authentication failed",
        ),
        "nobody answers": (url.replace(f":{where.port}/", ":1/"), "[Cc]onnection refused"),
        "no such database": (f"{url}_gone", "does not exist"),
    }[trouble]
    secretive.fails("aboutness_smoke", sentence, **{name: wrong})


# tests/unit/test_url.py and test_storage.py have every way in which a URL can be malformed.
@pytest.mark.parametrize("name", ["DATABASE_URL", "DAGSTER_PG_URL"])
def test_a_url_that_cannot_be_read_is_not_shown(secretive: Secretive, name: str) -> None:
    url = "postgresql://u:p@ss#Zq7service@127.0.0.1:Zq7operations/db"
    secretive.fails("aboutness_smoke", f"{name} cannot be read", **{name: url})

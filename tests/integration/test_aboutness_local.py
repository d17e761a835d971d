import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aboutness_assets.money.prices import chat_price, embedding_price
from aboutness_local.environment import LocalEnvironment
from aboutness_local.postgres import EmbeddedPostgres

pytestmark = pytest.mark.thorough

ABOUTNESS_LOCAL = Path(sysconfig.get_path("scripts")) / "aboutness-local"
NONE: Mapping[str, str] = {}
PRINT_ENVIRONMENT = (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("local") / "environment"
    yield directory
    LocalEnvironment(directory).reset()


@pytest.fixture
def own_directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "environment"
    yield directory
    LocalEnvironment(directory).reset()


def _aboutness_local(
    directory: Path, *arguments: str, cwd: Path | None = None, variables: Mapping[str, str] = NONE
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ABOUTNESS_")}
    return subprocess.run(
        [ABOUTNESS_LOCAL, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**inherited, "ABOUTNESS_LOCAL_DIR": str(directory), **variables},
        # Away from any .env of the checkout, which it would refuse.
        cwd=cwd or directory.parent,
    )


def _environment(directory: Path, **variables: str) -> dict[str, str]:
    done = _aboutness_local(directory, *PRINT_ENVIRONMENT, variables=variables)
    assert done.returncode == 0, done.stderr
    environment: dict[str, str] = json.loads(done.stdout)
    return environment


def _rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_the_command_finds_every_setting(directory: Path) -> None:
    environment = _environment(directory, ABOUTNESS_PACK_SIZE="7", ABOUTNESS_CHAT_MODEL="my-own")

    assert environment["ABOUTNESS_PACK_SIZE"] == "7"
    assert environment["ABOUTNESS_CHAT_MODEL"] == "stand-in-writer"
    assert environment["ABOUTNESS_EMBEDDING_MODEL"] == "stand-in-wordllama"
    prices = (
        chat_price("stand-in-writer", environment["ABOUTNESS_CHAT_PRICE"]),
        embedding_price("stand-in-wordllama", environment["ABOUTNESS_EMBEDDING_PRICE"]),
    )
    assert [price.is_pretend for price in prices if price is not None] == [True, True]
    assert environment["OPENAI_API_KEY"] == "stand-in"
    assert environment["PATH"].split(os.pathsep)[0] == sysconfig.get_path("scripts")
    instance_config = Path(environment["DAGSTER_HOME"]) / "dagster.yaml"
    assert instance_config.resolve() == Path(__file__).parents[2] / "dagster.yaml"
    with urllib.request.urlopen(f"{environment['OPENAI_BASE_URL']}/health") as reply:
        assert reply.status == 200
    with psycopg.connect(environment["DAGSTER_PG_URL"]) as connection:
        connection.execute("create schema mine create table things (id int)")


def test_the_catalogue_is_there_with_its_old_style_rows(directory: Path) -> None:
    url = _environment(directory)["DATABASE_URL"]

    assert _rows(url, "select count(*) >= 1000, count(distinct song_id) = count(*) from songs") == [
        (True, True)
    ]
    [(rows, first, last, vectors, confidences)] = _rows(
        url,
        "select count(*), min(created_at)::date::text, max(created_at)::date::text,"
        " count(*) filter (where abs(vector_norm(emotions_vector) - 1) < 1e-3"
        "   and abs(vector_norm(moments_vector) - 1) < 1e-3),"
        " count(emotions_confidence) + count(moments_confidence)"
        " from song_aboutness join songs using (song_id)",
    )
    assert (rows, vectors, confidences) == (65, 65, 0)
    assert "2025-01-01" <= first < last < "2026-01-01"


def test_the_service_is_as_restricted_as_a_real_one(directory: Path) -> None:
    url = _environment(directory)["DATABASE_URL"]
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("update song_aboutness set emotions_text = 'x'")
    admin_url = EmbeddedPostgres(directory / "postgres").url("service")
    with psycopg.connect(admin_url) as admin, pytest.raises(psycopg.errors.RaiseException):
        admin.execute("alter table songs add year int")


def test_the_users_own_database_and_key_are_never_used(directory: Path) -> None:
    own = {
        "DATABASE_URL": "postgresql://service.example.com/music",
        "OPENAI_API_KEY": "sk-mine",
        "PGHOSTADDR": "192.0.2.1",
        "PGSSLMODE": "require",
    }
    environment = _environment(directory, **own)
    done = _aboutness_local(directory, "true", variables=own)

    assert not set(own.values()) & set(environment.values())
    assert "Not used here: your own DATABASE_URL, OPENAI_API_KEY." in done.stderr
    assert "sk-mine" not in done.stderr


def test_an_env_file_that_dagster_would_prefer_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://service.example.com/music\nOTHER=1\n")
    done = _aboutness_local(directory, "true", cwd=tmp_path)

    assert done.returncode == 125
    assert "sets DATABASE_URL, and Dagster prefers it to the environment" in done.stderr


def test_it_says_in_one_line_that_texts_are_not_from_a_real_model(directory: Path) -> None:
    done = _aboutness_local(directory, "true")

    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "stand-in endpoint, not from a real model" in line


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("no-such-command",), 127),
        (("/",), 126),
        (("sh", "-c", "kill -TERM $$"), -signal.SIGTERM),
    ],
)
def test_the_exit_code_is_the_commands(directory: Path, command: tuple[str, ...], exit_code: int) -> None:
    assert _aboutness_local(directory, *command).returncode == exit_code


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_command(directory: Path, sent: signal.Signals) -> None:
    traps = " ".join(f"trap 'echo caught {name}; exit 3' {name};" for name in ("INT", "TERM"))
    command = f"{traps} echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        [ABOUTNESS_LOCAL, "sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "ABOUTNESS_LOCAL_DIR": str(directory)},
        cwd=directory.parent,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.send_signal(sent)

    assert process.communicate()[0] == f"caught {sent.name.removeprefix('SIG')}\n"
    assert process.returncode == 3


def test_several_at_once_share_one_environment(own_directory: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        environments = list(pool.map(lambda _: _environment(own_directory), range(4)))

    names = ("DATABASE_URL", "DAGSTER_PG_URL", "OPENAI_BASE_URL", "DAGSTER_HOME")
    assert len({tuple(environment[name] for name in names) for environment in environments}) == 1
    assert _rows(environments[0]["DATABASE_URL"], "select count(*) from song_aboutness") == [(65,)]


def test_what_was_killed_comes_up_again(own_directory: Path) -> None:
    before = _environment(own_directory)
    _kill_both(own_directory)

    after = _environment(own_directory)

    assert after["DATABASE_URL"] == before["DATABASE_URL"]
    assert after["OPENAI_BASE_URL"] == before["OPENAI_BASE_URL"]
    assert _rows(after["DATABASE_URL"], "select count(*) from song_aboutness") == [(65,)]
    with urllib.request.urlopen(f"{after['OPENAI_BASE_URL']}/health") as reply:
        assert reply.status == 200


def _kill_both(directory: Path) -> None:
    postmaster = EmbeddedPostgres(directory / "postgres").postmaster_pid
    assert postmaster is not None
    os.kill(postmaster, signal.SIGKILL)
    os.kill(json.loads((directory / "endpoint" / "state.json").read_text())["pid"], signal.SIGKILL)


def test_a_first_start_that_was_killed_is_completed_by_the_next(own_directory: Path) -> None:
    starting = subprocess.Popen(
        [ABOUTNESS_LOCAL, "true"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ABOUTNESS_LOCAL_DIR": str(own_directory)},
        cwd=own_directory.parent,
    )
    _wait_for_database(own_directory, "service_unfinished")
    starting.kill()
    starting.wait()

    url = _environment(own_directory)["DATABASE_URL"]

    assert _rows(url, "select count(*) from song_aboutness") == [(65,)]
    assert _rows(url, "select datname from pg_database where datname like 'service%'") == [("service",)]


def _wait_for_database(directory: Path, name: str) -> None:
    server = EmbeddedPostgres(directory / "postgres")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if server.postmaster_pid and _rows(
                server.url(), f"select 1 from pg_database where datname = '{name}'"
            ):
                return
        except psycopg.OperationalError:
            continue
    raise AssertionError(f"database {name} never came")


def test_stop_stops_both_and_keeps_the_data(own_directory: Path) -> None:
    before = _environment(own_directory)

    stopped = _aboutness_local(own_directory, "stop")
    again = _aboutness_local(own_directory, "stop")

    assert stopped.stdout == f"Stopped the stand-in endpoint and Postgres of {own_directory}.\n"
    assert again.stdout == f"Nothing is running in {own_directory}.\n"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(before["DATABASE_URL"])
    assert _environment(own_directory)["DATABASE_URL"] == before["DATABASE_URL"]


def test_reset_deletes_what_it_made_and_nothing_else(own_directory: Path) -> None:
    _environment(own_directory)
    (own_directory / "notes.txt").write_text("mine")

    assert _aboutness_local(own_directory, "reset").stdout == f"Deleted the environment in {own_directory}.\n"

    assert [file.name for file in own_directory.iterdir()] == ["notes.txt"]
    assert _aboutness_local(own_directory, "reset").stdout == f"There is no environment in {own_directory}.\n"


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dagster_home").mkdir()
    done = _aboutness_local(tmp_path, "true")

    assert done.returncode == 125
    assert "has files that aboutness-local did not create" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["dagster_home"]


def test_help_is_printed_without_starting_anything(own_directory: Path) -> None:
    for arguments in ((), ("--help",)):
        done = _aboutness_local(own_directory, *arguments)
        assert done.returncode == 0
        assert "aboutness-local reset" in done.stdout
    assert not own_directory.exists()


def test_secrets_stand_in_no_process_list(directory: Path) -> None:
    environment = _environment(directory)
    secrets = [
        str(psycopg.conninfo.conninfo_to_dict(environment[name])["password"])
        for name in ("DATABASE_URL", "DAGSTER_PG_URL")
    ]
    done = _aboutness_local(directory, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")

    assert "aboutness_local.endpoint" in done.stdout
    assert not any(secret in done.stdout for secret in secrets)

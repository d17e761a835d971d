"""Servers of the tests beside the embedded one: Debian's PostgreSQL 15, and a primary with its standby.

They listen on loopback and know no passwords; what is not installed is skipped with a reason.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
import pytest

from aboutness_local.loopback import HOST, free_port
from aboutness_local.postgres import EmbeddedPostgres
from aboutness_local.postgres_programs import Programs, as_user, system_user
from tests.support.service_database import PostgresServer

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")

START_SECONDS = 60


class Cluster:
    """A Postgres of the programs in a directory; it runs from ``start`` to ``remove``."""

    def __init__(self, programs: Path, options: Mapping[str, str]) -> None:
        self._programs = programs
        self._options = options
        self._directory = _directory_of_system_user()
        self._data = self._directory / "data"
        self._port = free_port(0)

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self._directory / "server.log").read_text(errors="replace")

    def create(self, *arguments: str) -> None:
        """Make an empty cluster; arguments are further ones of initdb."""
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-sync", *arguments)

    def copy_of(self, primary_url: str) -> None:
        """Make a standby of a primary that runs."""
        self._run("pg_basebackup", "-D", str(self._data), "-d", primary_url, "-R", "-c", "fast", "--no-sync")

    def start(self) -> None:
        """Start it and wait until it takes connections, reading ones at least."""
        settings = {"listen_addresses": HOST, "port": str(self._port), "unix_socket_directories": ""}
        options = " ".join(
            f"-c {shlex.quote(f'{name}={value}')}"
            for name, value in {"fsync": "off", **self._options, **settings}.items()
        )
        log = str(self._directory / "server.log")
        self._run(
            "pg_ctl", "-D", str(self._data), "-l", log, "-o", options, "-t", str(START_SECONDS), "start"
        )

    def promote(self) -> None:
        """Make a standby a primary and wait until it takes writes."""
        self._run("pg_ctl", "-D", str(self._data), "-t", str(START_SECONDS), "promote")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The URL of a database for a user."""
        return f"postgresql://{user}:{self.password(user)}@{HOST}:{self._port}/{database}"

    def password(self, user: str) -> str:
        """A password that is not asked for."""
        return f"{user}-of-the-tests"

    def remove(self) -> None:
        """Stop it and delete its files."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")
        shutil.rmtree(self._directory)

    def _run(self, program: str, *arguments: str) -> None:
        _run([str(self._programs / program), *arguments])


def debian_15() -> Cluster:
    """PostgreSQL 15 with ICU collations and without pgvector, running."""
    if not (DEBIAN_15 / "initdb").exists():
        pytest.skip("PostgreSQL 15 is not installed (apt-get install postgresql-15)")
    cluster = Cluster(DEBIAN_15, {"max_connections": "100"})
    cluster.create("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
    cluster.start()
    return cluster


class Pair:
    """An embedded server and its hot standby; a commit waits until the standby shows it."""

    def __init__(self, directory: Path) -> None:
        self.primary = EmbeddedPostgres(directory, {"fsync": "off"}).start()
        self.standby = Cluster(Programs().binaries(), {})
        self.standby.copy_of(self.primary.url())
        self.standby.start()
        with psycopg.connect(self.primary.url(), autocommit=True) as administrator:
            administrator.execute("alter system set synchronous_standby_names = '*'")
            administrator.execute("alter system set synchronous_commit = 'remote_apply'")
            administrator.execute("select pg_reload_conf()")

    def of_standby(self, url: str) -> str:
        """The URL of the same database on the standby."""
        return url.replace(self._host(self.primary), self._host(self.standby))

    def of_both(self, url: str) -> str:
        """A URL that tries the primary first, as libpq has it."""
        hosts = f"{self._host(self.primary)},{self._host(self.standby)}"
        return url.replace(self._host(self.primary), hosts)

    def remove(self) -> None:
        """Stop both and delete their files."""
        self.standby.remove()
        self.primary.reset()

    def _host(self, server: PostgresServer) -> str:
        return f"{HOST}:{_port_of(server)}"


def _port_of(server: PostgresServer) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(server.url())["port"])


def _directory_of_system_user() -> Path:
    """A new directory of the user that servers run as: Postgres and PgBouncer refuse to run as root."""
    directory = Path(tempfile.mkdtemp(prefix="aboutness-tests-"))
    if user := system_user():
        os.chown(directory, user.pw_uid, user.pw_gid)
    return directory


def _run(command: Sequence[str]) -> None:
    # To a file instead of a pipe: a server that is started keeps open what it inherits.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            **as_user(system_user()),
        )
        output.seek(0)
        assert done.returncode == 0, f"{command[0]} failed: {output.read()}"

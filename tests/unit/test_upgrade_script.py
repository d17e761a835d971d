"""deploy/host/upgrade: what it does in which order.

systemd is a recorder here; the README says what ran under a real one.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "host" / "upgrade"

SYSTEMCTL = """#!/bin/sh
case $1 in
  show) read -r line < "$TRIAL/code_server"; echo "$line" ;;
  *) echo "$*" >> "$TRIAL/done" ;;
esac
"""
SYSTEMD_RUN = """#!/bin/sh
# The next of the prepared lines of aboutness-health; "died" stands for a code server that was started again.
echo "$*" | grep -q -- "--uid=aboutness .*--property=EnvironmentFile=$TRIAL/etc/env" || exit 9
read -r line < "$TRIAL/health"; sed -i 1d "$TRIAL/health"
[ "$line" = died ] && { echo another > "$TRIAL/code_server"; exit 1; }
[ "$line" = interrupt ] && { kill -TERM 0; exit 1; }
echo "$line" | tee -a "$TRIAL/done"
case $line in ok:*) ;; *) exit 1 ;; esac
"""


class Trial:
    """A host in a directory, with an old release and a new one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.current, self.new = directory / "opt/current", directory / "opt/releases/new"
        (self.new / ".venv/bin").mkdir(parents=True)
        health = self.new / ".venv/bin/aboutness-health"
        health.touch(0o755)
        (self.new / "deploy/host").mkdir(parents=True)
        for name in ("aboutness-daemon.service", "aboutness.target"):
            (self.new / "deploy/host" / name).write_text("new")
        self.current.symlink_to(directory)
        self.units = directory / "units"
        self.units.mkdir()
        (directory / "bin").mkdir()
        for name, text in (
            ("systemctl", SYSTEMCTL),
            ("systemd-run", SYSTEMD_RUN),
            ("sleep", "#!/bin/sh\n"),
        ):
            (directory / "bin" / name).write_text(text)
            (directory / "bin" / name).chmod(0o755)
        text = SCRIPT.read_text().replace("/opt/aboutness", str(directory / "opt"))
        text = text.replace("/etc/systemd/system", str(self.units))
        (directory / "upgrade").write_text(text.replace("/etc/aboutness", str(directory / "etc")))

    def upgrade(self, *health: str) -> tuple[int, list[str]]:
        """Its exit code, and what it did to the units, with what aboutness-health said in between."""
        (self.directory / "health").write_text("".join(f"{line}\n" for line in health))
        (self.directory / "code_server").write_text("one\n")
        (self.directory / "done").touch()
        ran = subprocess.run(
            ["/bin/sh", str(self.directory / "upgrade"), str(self.new)],
            env={"PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}", "TRIAL": str(self.directory)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            start_new_session=True,
        )
        return ran.returncode, (self.directory / "done").read_text().splitlines()


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


STOP, START = "stop aboutness-daemon.service", "start aboutness-daemon.service"
CHANGE = ["daemon-reload", "restart aboutness-code-server.service aboutness-webserver.service", START]


def test_the_release_is_changed_between_two_runs(trial: Trial) -> None:
    exit_code, done = trial.upgrade(
        "NOT OK: 2 runs", "NOT OK: 1 runs", "ok: idle", "NOT OK: no heartbeat", "ok: all"
    )
    assert exit_code == 0
    assert done == [
        *(STOP, "NOT OK: 2 runs", "NOT OK: 1 runs", "ok: idle"),
        *(*CHANGE, "NOT OK: no heartbeat", "ok: all", START),
    ]
    assert trial.current.resolve() == trial.new
    assert (trial.units / "aboutness-daemon.service").read_text() == "new"
    assert (trial.units / "aboutness.target").read_text() == "new"


def test_runs_that_died_with_their_code_server_are_not_waited_for(trial: Trial) -> None:
    exit_code, done = trial.upgrade("NOT OK: 2 runs", "died", "ok: all")
    assert (exit_code, done) == (0, [STOP, "NOT OK: 2 runs", *CHANGE, "ok: all", START])


def test_a_wait_that_is_ended_leaves_all_as_it_was(trial: Trial) -> None:
    exit_code, done = trial.upgrade("NOT OK: 2 runs", "interrupt")
    assert (exit_code, done) == (130, [STOP, "NOT OK: 2 runs", START])
    assert trial.current.resolve() == trial.directory
    assert not list(trial.units.iterdir())


def test_a_release_that_does_not_work_is_told(trial: Trial) -> None:
    exit_code, done = trial.upgrade("ok: idle", *["NOT OK: it does not load"] * 13)
    assert exit_code == 1
    assert done[:2] == [STOP, "ok: idle"]
    assert done[-2:] == ["NOT OK: it does not load", START]


def test_a_release_without_its_environment_is_refused(trial: Trial) -> None:
    (trial.new / ".venv/bin/aboutness-health").unlink()
    assert trial.upgrade() == (1, [])

"""The systemd units of deploy/: systemd takes them, and they are hardened."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HOST = DEPLOY / "host"
UNITS = sorted(
    path
    for directory in (HOST, DEPLOY / "hosts")
    for path in directory.iterdir()
    if path.suffix in (".service", ".target", ".timer")
)

MOST_EXPOSURE = 20
"""In tenths: systemd calls up to 2.0 a low exposure."""


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units with the paths of this checkout, whose programs exist."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/aboutness/current", str(ROOT))
        text = text.replace("/usr/lib/postgresql/17/bin/postgres", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    return [tmp_path / unit.name for unit in UNITS]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_systemd_finds_no_fault(installed: list[Path]) -> None:
    verified = analyze("verify", "--man=no", *map(str, installed))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_services_are_hardened(installed: list[Path]) -> None:
    for unit in installed:
        if unit.suffix == ".service":
            looked = analyze(
                "security", "--offline=yes", f"--threshold={MOST_EXPOSURE}", "--no-pager", str(unit)
            )
            assert looked.returncode == 0, looked.stdout


def test_the_daemon_runs_only_while_a_code_server_answers() -> None:
    """Else Dagster gives up the retry of a run that fails while the code server is away."""
    code_server = (HOST / "aboutness-code-server.service").read_text()
    daemon = (HOST / "aboutness-daemon.service").read_text()
    assert "\nWants=network-online.target aboutness-daemon.service\n" in code_server
    assert "grpc-health-check --port 4266" in code_server
    assert "\nBindsTo=aboutness-code-server.service\n" in daemon
    assert "aboutness-code-server.service" in after("host/aboutness-daemon")


def after(unit: str) -> list[str]:
    [line] = [
        line for line in (DEPLOY / f"{unit}.service").read_text().splitlines() if line.startswith("After=")
    ]
    return line.removeprefix("After=").split()


def test_a_code_server_that_cannot_load_or_dies_while_it_starts_is_started_again() -> None:
    """``dagster code-server start`` would keep the error, and ExecStartPost wait for a dead one."""
    code_server = (HOST / "aboutness-code-server.service").read_text()
    assert "\nExecStart=/opt/aboutness/current/.venv/bin/dagster api grpc " in code_server
    assert 'do kill -0 "$MAINPID" || exit 1; sleep' in code_server
    assert "--lazy-load-user-code" not in code_server


def test_health_is_looked_at_while_what_it_looks_at_does_not_start() -> None:
    """systemd starts no unit before those that it is ordered after are started, or have been given up."""
    assert "\nAfter=" not in (HOST / "aboutness-health.service").read_text()


@pytest.mark.parametrize(
    "unit",
    [
        "host/aboutness-code-server",
        "host/aboutness-daemon",
        "host/aboutness-webserver",
        "hosts/aboutness-worker",
    ],
)
def test_a_postgres_on_the_same_host_stops_after_those_who_keep_answers_in_it(unit: str) -> None:
    assert {"aboutness-postgres.service", "postgresql.service"} <= set(after(unit))


def test_postgres_is_started_as_often_as_it_takes() -> None:
    """It is started again after a second, and systemd gives up after five times in ten seconds."""
    assert "\nStartLimitIntervalSec=0\n" in (DEPLOY / "hosts" / "aboutness-postgres.service").read_text()


@pytest.mark.parametrize("page", ["host", "hosts"])
def test_no_setting_in_a_page_has_a_comment_behind_it(page: str) -> None:
    """systemd would take the comment for a part of the value."""
    text = (DEPLOY / page / "README.md").read_text()
    assert not re.findall(r"^ *[A-Z][A-Z_]*=.*\s#.*", text, re.MULTILINE)


def test_no_secret_stands_in_a_unit() -> None:
    for unit in UNITS:
        text = unit.read_text()
        assert "postgresql://" not in text
        assert not [line for line in text.splitlines() if line.startswith("Environment=") and "KEY" in line]

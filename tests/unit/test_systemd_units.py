"""The systemd units of deploy/: systemd takes them, and they are hardened."""

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
    assert "\nAfter=network-online.target aboutness-code-server.service\n" in daemon


def test_no_secret_stands_in_a_unit() -> None:
    for unit in UNITS:
        text = unit.read_text()
        assert "postgresql://" not in text
        assert not [line for line in text.splitlines() if line.startswith("Environment=") and "KEY" in line]

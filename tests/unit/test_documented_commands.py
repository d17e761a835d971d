"""Every command that a page tells a reader to type is run by a test or by CI."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
PROGRAMS = {"aboutness-local", "apt-get", "dagster", "dagster-webserver", "dg", "make", "pip", "uv"}
"""What makes an inline code span a command, besides a path such as bin/test."""

SHELL = ("cp .env.example .env", "export ")
"""What the shell alone does."""

CI = ".ci/run"
JOBS = "tests/acceptance/test_job_commands.py"
REPLAY = "tests/acceptance/test_replay_command.py"
ACCESS = "tests/acceptance/test_access.py"
DG = "tests/acceptance/test_dg_commands.py"
COVERED = {
    r"bin/setup": ("bin/test", "bin/setup dev"),
    r"bin/demo": (CI, "bin/demo"),
    r"bin/test": ("Makefile", "bin/test"),
    r"\.ci/run": (CI, ""),
    r"\.venv/bin/aboutness-local dagster dev": ("aboutness_local/demo.py", '"dagster", "dev"'),
    r"\.venv/bin/aboutness-local stop": ("tests/integration/test_aboutness_local.py", '"stop"'),
    r"dagster dev": ("aboutness_local/demo.py", '"dagster", "dev"'),
    r"dagster-webserver --read-only .*": (ACCESS, "dagster-webserver --read-only"),
    r"dagster job execute .* -j aboutness_smoke": (JOBS, '"aboutness_smoke"'),
    r"dagster job execute .* -j aboutness_canary": (JOBS, '"aboutness_canary"'),
    r"dagster job execute .* -j aboutness_preflight": (
        "tests/acceptance/test_preflight_command.py",
        '"aboutness_preflight"',
    ),
    r"dagster job execute .* -j sync_song_id_ranges": (JOBS, '"sync_song_id_ranges"'),
    r"dagster job execute .* -j song_aboutness_backfill --tags .*": (JOBS, '"song_aboutness_backfill"'),
    r"dagster job execute .* -j aboutness_checks": (JOBS, '"aboutness_checks"'),
    r"dagster job execute .* -j replay_failed_songs": (REPLAY, '"replay_failed_songs"'),
    r"dg check defs": (DG, '"check", "defs"'),
    r"dg list defs": (DG, '"list", "defs"'),
    r"dg launch.*": (DG, '"launch"'),
    r"printf .*openssl passwd -6.*": (ACCESS, '"passwd", "-6"'),
    r"pip install uv": ("tools/lock", "pip install uv"),
    r"make (check|lint|types|contracts|audit)": (CI, "make check"),
    r"make test-all": (CI, "make test-thorough"),
    r"make fuzz.*": ("tests/fuzz/test_short_campaign.py", "tools.fuzz_campaign"),
    r"make benchmark.*": (__file__, '"-m", "benchmarks", "--help"'),
    r"make databases.*": ("tools/databases", "tools.databases_report"),
    r"make costs.*": ("tools/costs", "tools.costs_report"),
    r"make endpoints": ("tests/unit/test_endpoints_report.py", "document(PROVIDERS)"),
    r"make reliability.*": ("tools/reliability", "tools.reliability_report"),
    # Below these run for real, or make says what it would do.
    r"make (help|setup|hooks|test|coverage|lock|screenshots|asset-graph|hosts).*": (
        __file__,
        '"make", "--dry-run"',
    ),
}
"""Patterns of whole commands, each with the file that runs them and what it must contain for that."""


def commands(page: Path) -> Iterator[str]:
    """The commands of a page: lines of its shell blocks, and inline code that begins with a program."""
    text = page.read_text("utf-8")
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if command := re.sub(r"\s+# .*", "", line).strip():
                yield command
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`\n]+)`", prose):
        program = code.split()[0]
        is_script = (
            program.startswith((".venv/bin/", "bin/", ".ci/", "tools/")) and (ROOT / program).is_file()
        )
        if is_script or (program in PROGRAMS and " " in code):
            yield code


DOCUMENTED = sorted({command for page in PAGES for command in commands(page)})
MAKE = [command for command in DOCUMENTED if command.startswith("make ")]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="There is no make.")


def test_the_pages_hold_commands_of_every_kind() -> None:
    assert {"bin/demo", "make help", "dagster dev"} <= set(DOCUMENTED)


@pytest.mark.parametrize("command", DOCUMENTED)
def test_a_documented_command_is_run_somewhere(command: str) -> None:
    if command.startswith(SHELL):
        return
    where = [place for pattern, place in COVERED.items() if re.fullmatch(pattern, command)]
    assert where, f"Nothing is known to run {command!r}."
    for file, evidence in where:
        assert evidence in (ROOT / file).read_text("utf-8"), f"{file} no longer runs {command!r}."


@pytest.mark.parametrize("pattern", COVERED)
def test_no_entry_outlives_its_command(pattern: str) -> None:
    assert any(re.fullmatch(pattern, command) for command in DOCUMENTED)


@needs_make
@pytest.mark.parametrize("command", MAKE)
def test_make_knows_the_target(command: str) -> None:
    _, *arguments = shlex.split(command)
    done = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_make
def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^make (\S+)", done.stdout, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert listed == targets


def test_every_benchmark_can_be_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "limit_use" in done.stdout

"""The command dg, configured by [tool.dg] of pyproject.toml, as a maintainer calls it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.catalogue_of_songs import real_songs
from tests.support.dagster_project import JOB_SECONDS, DagsterProject

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
RANGE = "000000001-000000005"


@dataclass(frozen=True)
class Dg:
    """dg in a directory with the project's configuration and package, away from any .env of the checkout."""

    project: DagsterProject
    directory: Path

    def must(self, *arguments: str) -> str:
        """Run a command that has to succeed; returns its output."""
        done = subprocess.run(
            [Path(sys.executable).with_name("dg"), *arguments],
            env={**self.project.environment, "COLUMNS": "200", "HOME": str(self.directory)},
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=JOB_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def dg(make_project: Callable[..., DagsterProject], tmp_path: Path) -> Dg:
    directory = tmp_path / "checkout"
    directory.mkdir()
    shutil.copy(ROOT / "pyproject.toml", directory)
    (directory / "aboutness_assets").symlink_to(ROOT / "aboutness_assets")
    return Dg(make_project(real_songs(5), ABOUTNESS_RANGE_SIZE="5"), directory)


def test_dg_checks_and_lists_the_definitions(dg: Dg) -> None:
    assert "All definitions loaded successfully" in dg.must("check", "defs")
    listed = dg.must("list", "defs")
    for name in ("song_aboutness", "aboutness_smoke", "no_failed_songs", "song_id_ranges_in_step"):
        assert name in listed


def test_dg_launches_a_job_and_fills_a_partition(dg: Dg) -> None:
    dg.must("launch", "--job", "sync_song_id_ranges")
    assert dg.project.ranges() == [RANGE]
    dg.must("launch", "--assets", "song_aboutness", "--partition", RANGE)
    assert dg.project.materializations()[RANGE]["songs_written"] == 5

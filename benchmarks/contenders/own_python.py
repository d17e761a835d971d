"""A Python with packages that are none of the project's, for what a user would pick instead of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python_with(requirements: Sequence[str], name: str) -> Path | None:
    """The interpreter of a virtual environment with the requirements; None where they do not install.

    Kept in the user's cache directory under the name, and used again while the requirements are the same.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "aboutness-benchmarks" / name
    python, installed = directory / "bin" / "python", directory / "installed"
    if installed.exists() and installed.read_text(encoding="utf-8").splitlines() == list(requirements):
        return python
    print(f"  installing {', '.join(requirements)} into {directory}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
    except subprocess.CalledProcessError as failure:
        print(f"  {failure}", file=sys.stderr)
        return None
    installed.write_text("\n".join(requirements), encoding="utf-8")
    return python

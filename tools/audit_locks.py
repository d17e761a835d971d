"""Audits what is installed: the lock files always, known vulnerabilities where they can be looked up."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock", "deploy/kubernetes/requirements.lock")
SECONDS = 15  # for one look-up, before the advisory service counts as out of reach

_PINNED = re.compile(r"[A-Za-z0-9][\w.-]*(?:\[[\w, .-]+\])?==[\w.!+-]+(?:\s*;[^#]+)?")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def problems(lock: str) -> list[str]:
    """What is wrong with a lock file: a requirement without exact version or hash, an option, an address.

    Comments are looked at too: an address in one tells where somebody works.
    """
    found = [f"it names an address: {line.strip()}" for line in lock.splitlines() if "://" in line]
    requirements = 0
    for line in re.sub(r"\\\n", " ", lock).splitlines():
        entry = line.partition(" #")[0].strip()
        if not entry or entry.startswith("#"):
            continue
        requirement = entry.partition(" --hash")[0].strip()
        hashes = entry.removeprefix(requirement).split()
        requirements += 1
        if not _PINNED.fullmatch(requirement):
            found.append(f"this is no exact version: {requirement}")
        elif not hashes or not all(map(_HASH.fullmatch, hashes)):
            found.append(f"this has no hash, or more than hashes: {requirement}")
    return found if requirements else ["it holds no requirement"]


def audit() -> list[dict[str, Any]]:
    """What pip-audit says of each locked package: its ``vulns``, or why it has none (``skip_reason``)."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"),
            *("--format", "json", "--progress-spinner", "off", "--timeout", str(SECONDS)),
            *(argument for lock in LOCKS for argument in ("--requirement", ROOT / lock)),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):  # with an answer it prints JSON, whatever it found
        said = done.stderr.strip().splitlines() or ["nothing"]
        print(f"pip-audit got no answer and said: {said[-1][:200]}")
        return []
    return packages


def advisories(packages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every known vulnerability of the packages, a line each."""
    return [
        f"{package['name']} {package['version']}: {advisory['id']}, "
        f"fixed in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in packages
        for advisory in package.get("vulns", ())
    ]


def main() -> None:
    """Print what was looked at and found; exits with 1 where anything was."""
    found = [f"{name}: {problem}" for name in LOCKS for problem in problems((ROOT / name).read_text("utf-8"))]
    print(f"{' and '.join(LOCKS)}: {len(found) or 'no'} requirements without pin or hash, or from elsewhere.")
    packages = audit()
    looked_up = [package for package in packages if "skip_reason" not in package]
    if looked_up:
        vulnerabilities = advisories(looked_up)
        found += vulnerabilities
        print(
            f"{len(looked_up)} of {len(packages)} packages looked up: "
            f"{len(vulnerabilities) or 'no'} known vulnerabilities."
        )
    else:
        print("Known vulnerabilities: none looked up; run this where the advisory service can be reached.")
    print("\n".join(found), end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

from typing import Any

import pytest

from tools.audit_locks import advisories, problems

HASH = "--hash=sha256:" + "0a" * 32
GOOD = f"aiohttp==3.14.5 \\\n    {HASH} \\\n    {HASH}\n    # via openai\n"


@pytest.mark.parametrize(
    "lock",
    [
        GOOD,
        f"openai[aiohttp]==3.54.0 \\\n    {HASH}\n",
        f"psycopg[binary, pool]==3.3.9 \\\n    {HASH}\n",
        f"colorama==0.4.6 ; sys_platform == 'win32' \\\n    {HASH}\n    # via\n    #   -r requirements.in\n",
        GOOD + f"torch==2.1.0+cpu {HASH}\n",
    ],
)
def test_exact_versions_with_hashes_are_fine(lock: str) -> None:
    assert problems(lock) == []


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        (GOOD + "regex>=2026.1\n", "no exact version: regex>=2026.1"),
        (GOOD + f"regex==2026.* {HASH}\n", "no exact version: regex==2026.*"),
        (GOOD + "regex==2026.1\n", "no hash"),
        (GOOD + "regex==2026.1 --hash=md5:00\n", "more than hashes"),
        (GOOD + "-e .\n", "no exact version: -e ."),
        (GOOD + "--index-url https://index.example.com/simple\n", "names an address"),
        (GOOD + "--extra-index-url index\n", "no exact version"),
        (GOOD + "# from https://index.example.com/simple\n", "names an address"),
        (GOOD + f"x @ git+https://example.com/x.git {HASH}\n", "names an address"),
        ("# nothing\n", "holds no requirement"),
    ],
)
def test_anything_else_is_told(lock: str, problem: str) -> None:
    assert any(problem in found for found in problems(lock))


def test_an_advisory_is_told_with_what_to_install() -> None:
    """As pip-audit 2.10 prints it."""
    packages: list[dict[str, Any]] = [
        {"name": "good", "version": "1", "vulns": []},
        {"name": "flask", "version": "0.5", "vulns": [{"id": "PYSEC-2019-179", "fix_versions": ["1.0"]}]},
        {"name": "hopeless", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]},
    ]
    assert advisories(packages) == [
        "flask 0.5: PYSEC-2019-179, fixed in 1.0",
        "hopeless 2: PYSEC-1, fixed in no version yet",
    ]

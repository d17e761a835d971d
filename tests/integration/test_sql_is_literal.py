"""The type checker refuses SQL that is put together from values, with the configuration of pyproject.toml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

QUERIES = """\
from typing import LiteralString

from psycopg import AsyncConnection, sql


async def literal(connection: AsyncConnection, name: str, order: LiteralString) -> None:
    await connection.execute("select from songs where title = %s", [name])
    await connection.execute(f"select from songs order by {order}")
    await connection.execute(sql.SQL("select from {}").format(sql.Identifier(name)))


async def injected(connection: AsyncConnection, name: str) -> None:
    await connection.execute(f"select from songs where title = '{name}'")
    await connection.execute("select from " + name)
    await connection.execute(sql.SQL("select from songs order by " + name))
"""
FIRST_INJECTED, LAST_INJECTED = 13, 15


def test_sql_that_is_put_together_from_a_value_is_refused(tmp_path: Path) -> None:
    queries = tmp_path / "queries.py"
    queries.write_text(QUERIES)

    checked = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", queries],
        check=False,
        capture_output=True,
        cwd=ROOT,
        text=True,
    )

    found = [
        (diagnostic["range"]["start"]["line"] + 1, diagnostic["severity"], diagnostic["rule"])
        for diagnostic in json.loads(checked.stdout)["generalDiagnostics"]
    ]
    assert checked.returncode == 1
    assert {line for line, _, _ in found} == set(range(FIRST_INJECTED, LAST_INJECTED + 1))
    assert {(severity, rule) for _, severity, rule in found} <= {
        ("error", "reportArgumentType"),
        ("error", "reportCallIssue"),
    }

"""Makes docs/databases.md of the results that the cases wrote with --database-results.

usage: python -m tools.databases_report RESULTS > docs/databases.md

Exits with 1 where a case of the table has no result: its server is not installed, or it failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.databases.case import EMBEDDED, Case, FailsItsSong, FailsUnpaid, Fills
from tests.databases.table import CASES, SECTIONS

INTRODUCTION = """\
# Databases as people have them

Written by `make databases` from a table of cases, each tried on real servers: the tables of
docs/operating.md, and what somebody's database has instead. A test compares this page with what is printed
today.

- **fills**: every song gets its row, every criterion holds, and a second run asks for nothing.
- **fails unpaid**: the job `aboutness_preflight` fails with what is quoted here, and a run fails for the same
  reason before it asks for a single text. Nothing is written. What only an embedding shows, a run alone says.
- **fails its song**: that song is listed as failed with the reason that is quoted; all others get their rows.

`{role}` is the role of `DATABASE_URL`, `{database}` its database. Beside a case that fills stands what the
preflight prints nevertheless.
"""

HEAD = ("the database", "what was done to it", "outcome", "what is printed")


def main(paths: Sequence[str]) -> int:
    """Print the whole page; returns the exit status."""
    results = [json.loads(line) for path in paths for line in Path(path).read_text("utf-8").splitlines()]
    printed = {result["case"]: result["printed"] for result in results}
    print(document(printed), end="")
    missing = [case.name for case in CASES if case.name not in printed]
    for name in missing:
        print(f"{name}: no result; see what its test says.", file=sys.stderr)
    return bool(missing)


def document(printed: Mapping[str, str]) -> str:
    """The page; ``printed`` has what is quoted of a case by its name."""
    parts = [INTRODUCTION]
    for title, cases in SECTIONS.items():
        rows = [row(case, printed[case.name]) for case in cases if case.name in printed]
        parts += [f"## {title}", "", _row(HEAD), _row(["---"] * len(HEAD)), *rows, ""]
    return "\n".join(parts)


def row(case: Case, printed: str) -> str:
    """The line of one case."""
    outcomes = {Fills: "fills", FailsUnpaid: "fails unpaid", FailsItsSong: "fails its song"}
    quoted = "<br>".join(_cell(line) for line in printed.splitlines())
    return _row([_cell(case.name), setup(case), outcomes[type(case.expect)], quoted])


def setup(case: Case) -> str:
    """What is different about a case, in a few words and SQL."""
    parts = [
        case.server if case.server != EMBEDDED else "",
        f"encoding {case.encoding}" if case.encoding != "UTF8" else "",
        f"song_id {case.id_type}" if case.id_type != "integer" else "",
        case.vector_type if case.vector_type != "vector(8)" else "",
        case.through,
        f"{case.own_through} before DAGSTER_PG_URL" if case.own_through else "",
        f"DATABASE_URL ends in {_code(case.parameters)}" if case.parameters else "",
        f"DAGSTER_PG_URL ends in {_code(case.own_parameters)}" if case.own_parameters else "",
        *(f"ABOUTNESS_{name.upper()}={_code(value)}" for name, value in case.settings.items()),
        *(f"the endpoint refuses {_code(name)}" for name in case.refused_parameters),
        _code(case.arrange) if case.arrange else "",
    ]
    return "; ".join(part for part in parts if part)


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""docs/databases.md, made of what the cases printed."""

import json
from pathlib import Path

import pytest

from tests.databases.case import Case, FailsUnpaid, Fills
from tests.databases.table import CASES
from tools.databases_report import document, main, row

PAGE = Path(__file__).parents[2] / "docs" / "databases.md"


def test_a_row_says_what_was_done_and_what_is_printed() -> None:
    case = Case(
        "confidences as one word",
        FailsUnpaid("check"),
        "alter table a\n  check (a || b)",
        parameters="?schema=x",
    )
    assert row(case, "insert: no\nrights: too | many") == (
        "| confidences as one word | DATABASE_URL ends in `?schema=x`; `alter table a check (a \\|\\| b)` "
        "| fails unpaid | insert: no<br>rights: too \\| many |"
    )
    assert row(Case("as agreed", Fills()), "") == "| as agreed |  | fills |  |"


def test_the_page_has_a_row_for_every_case_of_the_table_and_no_other() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert [name for name in names if name not in ("the database", "---")] == [case.name for case in CASES]
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_case_without_a_result_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps({"case": case.name, "printed": ""}) + "\n" for case in CASES))
    assert main([str(results)]) == 0
    results.write_text(json.dumps({"case": CASES[0].name, "printed": "this"}) + "\n")
    assert main([str(results)]) == 1
    printed = capsys.readouterr()
    assert f"{CASES[1].name}: no result" in printed.err
    assert document({CASES[0].name: "this"}) in printed.out

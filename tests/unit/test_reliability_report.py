"""The tables of docs/reliability.md, made of the suites' own results."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.reliability_report import broken_promises, document, main

TRIAL = {"songs": 55, "lost": 0, "mixed_up": 0, "paid_twice": 0, "failed_songs": 0, "replayed": 0}
REFUSAL = {**TRIAL, "kind": "fault", "fault": "refusal", "route": "chat", "injected": {"refusal": 4}}
KILL = {
    "kind": "kill",
    "where": "before the answer is kept",
    "kills": 10,
    "answers_received": 30,
    "used": 28,
    "replayed": 2,
    "uncertain": 3,
    "asked_twice": 0,
}


def row(results: list[dict[str, Any]], beginning: str) -> str:
    [found] = [line for line in document(results).splitlines() if line.startswith(f"| {beginning}")]
    return found


def test_trials_of_one_fault_share_a_row_that_says_how_it_was_answered() -> None:
    again = {**REFUSAL, "injected": {"refusal": 1000}, "asked_alone": 9, "failed_songs": 2}
    assert row([REFUSAL, again], "`refusal`") == (
        "| `refusal` | The model refuses to answer | chat | 1,004 | 110 | 0 | 0 | 0 "
        "| songs asked for alone (9), songs listed as failed (2) |"
    )


def test_a_fault_of_two_routes_has_a_row_for_each() -> None:
    trials = [
        {**REFUSAL, "fault": "http_500", "route": route, "injected": {"http_500": n}}
        for n, route in enumerate(["chat", "embeddings"], start=3)
    ]
    lines = [line for line in document(trials).splitlines() if "`http_500`" in line]
    assert [line.split(" | ")[2:4] for line in lines] == [["chat", "3"], ["embedding", "4"]]


def test_kills_are_summed_by_where_they_struck() -> None:
    assert row([KILL, KILL], "before") == "| before the answer is kept | 20 | 60 | 56 | 4 | 6 | 0 |"


def test_what_is_absent_has_no_table() -> None:
    titles = [line for line in document([KILL]).splitlines() if line.startswith("## ")]
    assert titles == ["## Kills"]
    assert "Kills" not in document([REFUSAL])


def test_kept_promises_are_passed_over() -> None:
    assert broken_promises([REFUSAL, KILL]) == []


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({**REFUSAL, "lost": 1}, "refusal: 1 songs were lost."),
        ({**REFUSAL, "mixed_up": 2}, "refusal: 2 songs were mixed up."),
        ({**REFUSAL, "paid_twice": 3}, "refusal: 3 songs were paid for twice."),
        ({**KILL, "asked_twice": 1}, "before the answer is kept: 1 songs were asked for twice."),
        (
            {**KILL, "used": 27},
            "before the answer is kept: answers received are not those used and replayed.",
        ),
    ],
)
def test_a_broken_promise_is_told(result: dict[str, Any], words: str) -> None:
    assert broken_promises([result]) == [words]


def test_a_lie_that_cannot_be_seen_is_shown_and_breaks_no_promise() -> None:
    swapped = {**REFUSAL, "fault": "swapped_texts", "injected": {"swapped_texts": 1}, "mixed_up": 2}
    assert broken_promises([swapped]) == []
    assert row([swapped], "`swapped_texts`").endswith("| 1 | 55 | 0 | 2 | 0 | **not detected** |")


def test_the_command_reads_many_files_and_fails_where_a_promise_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(json.dumps(REFUSAL) + "\n")
    bad.write_text(json.dumps({**KILL, "asked_twice": 1}) + "\n")
    assert main([str(good)]) == 0
    assert main([str(good), str(bad)]) == 1
    assert "asked for twice" in capsys.readouterr().err

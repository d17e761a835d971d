"""The tables of docs/costs.md, made of the suites' own results and of a trial."""

from typing import Any

import pytest

from aboutness_assets.domain.songs import Song
from aboutness_assets.money.token_counts import by_characters
from tools.costs_report import broken_promises, document
from tools.estimate_trial import Bill, Trial, estimate_of

FAULT: dict[str, Any] = {
    "fault": "time-outs",
    "cap_usd": 0.01,
    "songs": 60,
    "rows": 55,
    "billed_usd": 0.005,
    "spent_usd": 0.004,
    "uncertain_usd": 0.002,
    "most_committed_usd": 0.009,
}
KILL = {"where": "at an answer", "kills": 3, "billed_usd": 0.5, "spent_usd": 0.25, "uncertain_usd": 0.5}
SONGS = [Song(number, "A Title", "An Artist") for number in range(100)]


def row(text: str, beginning: str) -> str:
    [found] = [line for line in text.splitlines() if line.startswith(f"| {beginning}")]
    return found


def test_each_fault_has_its_row() -> None:
    text = document(None, None, [FAULT, {**FAULT, "fault": "lies", "cap_usd": None}])
    assert row(text, "time-outs") == (
        "| time-outs | $0.0100 | $0.00500 | $0.00400 | $0.00200 | $0.00900 | 55 of 60 |"
    )
    assert row(text, "lies") == "| lies |  | $0.00500 | $0.00400 | $0.00200 |  | 55 of 60 |"


def test_kills_are_summed_by_where_they_struck() -> None:
    assert row(document(None, None, [KILL, KILL]), "at an") == (
        "| at an answer | 6 | $1.00000 | $0.50000 | $1.00000 |"
    )


def test_an_estimate_stands_beside_its_bill() -> None:
    found = estimate_of(SONGS, by_characters())
    assert found.usd_standard is not None
    bill = Bill(100, 10_000, 5_000, 2_000, found.usd_standard.expected / 1.1, 0.01)
    text = document(Trial({"characters": found}, {}, bill, bill), found, [])
    prompt, *_, dollars = [line for line in text.splitlines() if "names by characters" in line]
    assert f"| {found.prompt_tokens.expected:,.0f} |" in prompt
    assert prompt.endswith(f"| 10,000 | {found.prompt_tokens.expected / 10_000 - 1:+.1%} |")
    assert dollars.endswith("| **+10.0%** |")
    assert row(text, "`flex`") < row(text, "`standard`")


def test_what_was_not_run_says_so() -> None:
    assert document(None, None, []).count("Not run:") == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"billed_usd": 0.0061}, "more was billed than the ledger knows of"),
        ({"spent_usd": 0.0051}, "spent what was not billed"),
        ({"most_committed_usd": 0.0101}, "the cap was passed"),
    ],
)
def test_a_broken_promise_is_told(change: dict[str, float], sentence: str) -> None:
    assert broken_promises([FAULT, KILL]) == []
    [told] = broken_promises([{**FAULT, **change}])
    assert sentence in told

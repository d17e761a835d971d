"""The tables of docs/costs.md, made of the suites' own results and of a trial."""

from typing import Any

import pytest

from aboutness_assets.money.estimate import Estimate
from aboutness_assets.money.figures import Figure
from tools.costs_report import broken_estimates, broken_promises, document
from tools.estimate_trial import Bill, Trial

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
PACKS, TEXTS = Figure(10, 10, 11), Figure(1_500, 2_000, 2_500)
ESTIMATE = Estimate(
    songs=100,
    chat_requests=PACKS,
    prompt_tokens=Figure(9_000, 9_500, 11_000),
    completion_tokens=Figure(4_000, 5_000, 6_000),
    embedding_requests=PACKS,
    embedding_tokens=TEXTS,
    usd_standard=Figure(2, 2.2, 3),
    usd_flex=Figure(1, 1.1, 1.5),
    minutes=None,
    billed_requests=0,
)


def row(text: str, beginning: str) -> str:
    [found] = [line for line in text.splitlines() if line.startswith(f"| {beginning}")]
    return found


def test_each_fault_has_its_row() -> None:
    text = document(None, [FAULT, {**FAULT, "fault": "lies", "cap_usd": None}])
    assert row(text, "time-outs") == (
        "| time-outs | $0.0100 | $0.00500 | $0.00400 | $0.00200 | $0.00900 | 55 of 60 |"
    )
    assert row(text, "lies") == "| lies |  | $0.00500 | $0.00400 | $0.00200 |  | 55 of 60 |"


def test_kills_are_summed_by_where_they_struck() -> None:
    assert row(document(None, [KILL, KILL]), "at an") == (
        "| at an answer | 6 | $1.00000 | $0.50000 | $1.00000 |"
    )


def test_an_estimate_stands_beside_its_bill() -> None:
    bill = Bill(100, 10_000, 5_000, 2_000, 2.0, 2.0)
    text = document(Trial({"characters": ESTIMATE}, {}, bill, bill, ESTIMATE), [])
    prompt, completion, _, dollars = [line for line in text.splitlines() if "names by characters" in line]
    assert prompt.endswith("| prompt tokens | 9,500 | 9,000 to 11,000 | 10,000 | -5.0% |")
    assert completion.endswith("| 5,000 | +0.0% |")
    assert dollars.endswith("| dollars | $2.2000 | $2.0000 to $3.0000 | $2.0000 | **+10.0%** |")
    assert row(text, "`standard`") == "| `standard` | $2.20 | $2.00 | $3.00 |"
    assert row(text, "`flex`") == "| `flex` | $1.10 | $1.00 | $1.50 |"


def test_what_was_not_run_says_so() -> None:
    assert document(None, []).count("Not run:") == 4


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


def test_an_estimate_farther_off_than_promised_is_told() -> None:
    bill = Bill(100, 10_000, 5_000, 2_000, 2.2, 2.2)
    assert broken_estimates(Trial({"characters": ESTIMATE}, {}, bill, bill, ESTIMATE)) == []
    [told] = broken_estimates(Trial({}, {"characters": ESTIMATE}, bill, bill, ESTIMATE))
    assert told == "prompt tokens after a smoke run, names by characters: not within 3%."

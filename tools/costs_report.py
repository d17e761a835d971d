"""Writes docs/costs.md: estimates against bills, bills against the ledger, standard against flex.

usage: python -m tools.costs_report [--money-results PATH] [--songs N]

PATH: what the suites wrote with --money-results; without it that part says that it was not run. Exits with 1
where more was billed than the ledger knows of or a cap allowed, or an estimate is farther off than promised.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from aboutness_assets.money.estimate import Estimate
from aboutness_assets.money.figures import Figure
from aboutness_assets.money.token_counts import token_counter
from tools.estimate_trial import (
    CATALOGUE,
    CHAT_MODEL,
    EMBEDDING_MODEL,
    Bill,
    Trial,
    catalogue,
    prices,
    run_trial,
    sample,
)

Result: TypeAlias = dict[str, Any]

DOCUMENT = Path(__file__).parents[1] / "docs" / "costs.md"
TRIAL_SONGS = 10_000
ROUNDING_USD = 1e-9
"""Bills and ledger add up floats and decimals."""

INTRODUCTION = """\
# Costs: estimates, bills and the ledger

`make costs` writes this file. Every figure was computed by it or comes from a test that it ran; each test
fails if its invariants do not hold.

- Dollars are those of the price list for `{chat}` and `{embedding}`, except in the sections on faults and
  kills, which use pretend prices. No real provider was asked.
- The price list is {source}.
- *Billed* is what the stand-in endpoint charges: it bills every answer that it finishes, whether or not
  anybody still listens, whatever `usage` its answer states.
- *Spent*, *uncertain* and *reserved* are sums over the ledger, `aboutness_ops.spending`.
"""

NO_CATALOGUE = """\
Not run: `../shared/data/{name}`, the catalogue of 114,000 songs, is not beside this repository.
"""

TRIAL_WORDS = """\
{songs:,} songs from all over the catalogue of 114,000, in packs of ten, standard tier. The stand-in counted
tokens by OpenAI's tokenizer (`"tokens": "o200k"`) over messages, schema and compact JSON answers, with
OpenAI's frame of three tokens per message; it charges no cache writes. Its texts are phrases from a bank,
so answers of a language model may be longer or shorter; the smoke run is what tells. The promise: within
±10 % before anything is billed, within ±3 % after a smoke run of 50 songs.
"""

FAULTS_WORDS = """\
A backfill of 60 songs in packs of five against the metering stand-in. In each row billed ≤ spent +
uncertain, and spent ≤ billed. *Most committed* is the highest sum of spent, uncertain and reserved at any
commit to the budget: it never passes the cap. At every commit the budget's sums are compared with the sums
over its attempts, and the reported `cost_usd` of all runs over a complete range with the ledger.
"""

KILLS_WORDS = """\
Runs killed with SIGKILL at each step of the pipeline, and started again until the table was complete. After
each kill, spent ≤ billed ≤ spent + uncertain + in flight; at the end nothing is in flight.
"""

TIERS_WORDS = """\
The estimate for all {songs:,} songs before anything is billed: {requests} chat requests. It counts titles
and artists by the {source}. The band holds what differs between providers and models: whether the schema is
billed, and how much of the room for a text is used. A smoke run narrows it.
"""


def main() -> int:
    """Run the trial, write the document; returns the exit status."""
    parser = argparse.ArgumentParser(description="Writes docs/costs.md.")
    parser.add_argument("--money-results", type=Path, metavar="PATH", help="what the suites wrote")
    parser.add_argument("--songs", type=int, default=TRIAL_SONGS, help="songs of the trial")
    arguments = parser.parse_args()
    results: list[Result] = []
    if arguments.money_results:
        lines = arguments.money_results.read_text(encoding="utf-8").splitlines()
        results = [json.loads(line) for line in lines]
    trial = None
    if CATALOGUE.exists():
        trial = asyncio.run(run_trial(sample(catalogue(), arguments.songs)))
    DOCUMENT.write_text(document(trial, results), encoding="utf-8")
    broken = broken_promises(results) + (broken_estimates(trial) if trial else [])
    for sentence in broken:
        print(sentence, file=sys.stderr)
    return bool(broken)


def document(trial: Trial | None, results: Sequence[Result]) -> str:
    """The Markdown; what was not run says so."""
    missing = NO_CATALOGUE.format(name=CATALOGUE.name)
    faults = [result for result in results if "fault" in result]
    kills = [result for result in results if "where" in result]
    source = prices()[0].source
    return (
        "\n".join(
            [
                INTRODUCTION.format(chat=CHAT_MODEL, embedding=EMBEDDING_MODEL, source=source),
                "## What the whole catalogue costs\n",
                tiers(trial.whole) if trial else missing,
                "## Estimate against bill\n",
                estimates(trial) if trial else missing,
                "## Bill against ledger under every money fault\n",
                money_faults(faults) if faults else "Not run: give `--money-results`.\n",
                "## Bill against ledger when runs are killed\n",
                money_kills(kills) if kills else "Not run: give `--money-results`.\n",
            ]
        ).rstrip("\n")
        + "\n"
    )


def broken_promises(results: Iterable[Result]) -> list[str]:
    """One sentence for each result in which the ledger or the cap does not hold."""
    sentences = []
    for result in results:
        what = result.get("fault") or result["where"]
        if result["billed_usd"] > result["spent_usd"] + result["uncertain_usd"] + ROUNDING_USD:
            sentences.append(f"{what}: more was billed than the ledger knows of.")
        if result["spent_usd"] > result["billed_usd"] + ROUNDING_USD:
            sentences.append(f"{what}: the ledger says spent what was not billed.")
        cap = result.get("cap_usd")
        if cap is not None and max(result["billed_usd"], result["most_committed_usd"]) > cap:
            sentences.append(f"{what}: the cap was passed.")
    return sentences


def broken_estimates(trial: Trial) -> list[str]:
    """One sentence for each estimate of tokens or dollars of texts that is farther off than promised."""
    sentences = []
    for when, found, bill, promise in (
        ("before any billing", trial.before, trial.bill_of_all, 0.10),
        ("after a smoke run", trial.after, trial.bill_of_rest, 0.03),
    ):
        for source, each in found.items():
            assert each.usd_standard is not None
            for what, figure, actual in (
                ("prompt tokens", each.prompt_tokens, bill.prompt_tokens),
                ("completion tokens", each.completion_tokens, bill.completion_tokens),
                ("dollars", each.usd_standard, bill.billed_usd),
            ):
                if abs(figure.expected / actual - 1) > promise:
                    sentences.append(f"{what} {when}, names by {source}: not within {promise:.0%}.")
    return sentences


def tiers(whole: Estimate) -> str:
    """Standard against flex."""
    rows = [
        [f"`{tier}`", _dollars(usd.expected, 2), _dollars(usd.low, 2), _dollars(usd.high, 2)]
        for tier, usd in (("standard", whole.usd_standard), ("flex", whole.usd_flex))
        if usd is not None
    ]
    words = TIERS_WORDS.format(
        songs=whole.songs, requests=_count(whole.chat_requests.expected), source=token_counter().source
    )
    return words + "\n" + _table(["`ABOUTNESS_TIER`", "expected", "at least", "at most"], rows)


def estimates(trial: Trial) -> str:
    """Estimates before and after a smoke run against what was billed."""
    rows = []
    for when, found, bill in (
        ("before any billing", trial.before, trial.bill_of_all),
        ("after 50 songs", trial.after, trial.bill_of_rest),
    ):
        for source, each in found.items():
            rows += _estimate_rows(f"{when}, names by {source}", each, bill)
    bill = trial.bill_of_all
    remark = (
        f"The endpoint billed {_dollars(bill.billed_usd, 6)} for the {bill.songs:,} rows; the ledger, and "
        f"with it the runs' `cost_usd`, says {_dollars(bill.ledger_usd, 6)}.\n"
    )
    head = ["estimate", "figure", "estimated", "band", "billed", "error"]
    return TRIAL_WORDS.format(songs=bill.songs) + "\n" + _table(head, rows) + "\n" + remark


def _estimate_rows(name: str, found: Estimate, bill: Bill) -> list[list[str]]:
    figures: list[tuple[str, Figure, float]] = [
        ("prompt tokens", found.prompt_tokens, bill.prompt_tokens),
        ("completion tokens", found.completion_tokens, bill.completion_tokens),
        ("embedding tokens", found.embedding_tokens, bill.embedding_tokens),
    ]
    rows = [
        [
            *(name, what, _count(figure.expected), f"{_count(figure.low)} to {_count(figure.high)}"),
            *(_count(actual), f"{figure.expected / actual - 1:+.1%}"),
        ]
        for what, figure, actual in figures
    ]
    usd = found.usd_standard
    assert usd is not None
    band = f"{_dollars(usd.low)} to {_dollars(usd.high)}"
    error = f"**{usd.expected / bill.billed_usd - 1:+.1%}**"
    return [*rows, [name, "dollars", _dollars(usd.expected), band, _dollars(bill.billed_usd), error]]


def money_faults(results: Sequence[Result]) -> str:
    """One row per result, in the order of the faults' names."""
    rows = [
        [
            result["fault"],
            "" if result["cap_usd"] is None else _dollars(result["cap_usd"]),
            *_money(result),
            "" if result["cap_usd"] is None else _dollars(result["most_committed_usd"], 5),
            f"{result['rows']} of {result['songs']}",
        ]
        for result in sorted(results, key=lambda result: str(result["fault"]))
    ]
    head = ["fault", "cap", "billed", "spent", "uncertain, at most", "most committed", "rows"]
    return FAULTS_WORDS + "\n" + _table(head, rows)


def money_kills(results: Sequence[Result]) -> str:
    """Sums by where the kills struck."""
    sums: dict[str, Result] = {}
    for result in results:
        of_place = sums.setdefault(result["where"], dict.fromkeys(result, 0))
        for name in ("kills", "billed_usd", "spent_usd", "uncertain_usd"):
            of_place[name] += result[name]
    rows = [[where, str(each["kills"]), *_money(each)] for where, each in sorted(sums.items())]
    head = ["where", "kills", "billed", "spent", "uncertain, at most"]
    return KILLS_WORDS + "\n" + _table(head, rows)


def _money(result: Result) -> list[str]:
    return [_dollars(result[name], 5) for name in ("billed_usd", "spent_usd", "uncertain_usd")]


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _dollars(usd: float, digits: int = 4) -> str:
    return f"${usd:,.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

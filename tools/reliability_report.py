"""Makes docs/reliability.md of the results that the suites wrote with --reliability-results.

usage: python -m tools.reliability_report RESULTS... > docs/reliability.md

Exits with 1 where a song was lost, mixed up by a lie that is to be seen, or paid for twice.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from aboutness_local.faults import FAULTS
from tests.support.fault_kinds import UNSEEN

Result = dict[str, Any]

INTRODUCTION = """\
# Reliability

Written by `make reliability` from the results of the test suites.

Each trial fills a range of real Postgres rows from the stand-in endpoint over real HTTP, first with a fault,
then without. The stand-in's texts are deterministic, so the table alone shows whose texts a row has.

- **lost**: songs that neither got a row nor were listed as failed, or got no row from the second run.
- **mixed up**: rows with another song's texts or confidences.
- **paid twice**: songs asked for again although a good answer for them had been sent.
- **listed as failed**: songs that the first run gave up, with a reason. The second run wrote each of them.

Each trial also checks that the table contains nothing invalid, that every vector belongs to its row's text,
that old-style rows are unchanged, that a pack of n songs took at most 2 + 2n chat requests (each sent at most
five times, not counting 429s), and that nothing was asked for songs that had a row.
"""


def main(paths: Sequence[str]) -> int:
    """Print the whole document; returns the exit status."""
    results = [
        json.loads(line) for path in paths for line in Path(path).read_text(encoding="utf-8").splitlines()
    ]
    print(document(results))
    broken = broken_promises(results)
    for sentence in broken:
        print(sentence, file=sys.stderr)
    return bool(broken)


def document(results: Sequence[Result]) -> str:
    """The Markdown of all results; a kind of result that is absent has no section."""
    sections: list[tuple[str, Callable[[Sequence[Result]], str]]] = [
        ("fault", faults),
        ("mixture", mixtures),
        ("stop", stops),
        ("kill", kills),
        ("lie", lies),
        ("harmless", harmless),
    ]
    parts = [INTRODUCTION]
    for kind, section in sections:
        of_kind = [result for result in results if result["kind"] == kind]
        if of_kind:
            parts.append(section(of_kind))
    return "\n".join(parts)


def broken_promises(results: Sequence[Result]) -> list[str]:
    """One sentence for each result that is not as this project promises."""
    sentences = []
    for result in results:
        what = result.get("fault") or result.get("where") or result["kind"]
        if result["kind"] == "kill":
            if result["asked_twice"]:
                sentences.append(f"{what}: {result['asked_twice']} songs were asked for twice.")
            if result["answers_received"] != result["used"] + result["replayed"]:
                sentences.append(f"{what}: answers received are not those used and replayed.")
        for count, words in (("lost", "lost"), ("mixed_up", "mixed up"), ("paid_twice", "paid for twice")):
            if result.get(count) and not (count == "mixed_up" and what in UNSEEN):
                sentences.append(f"{what}: {result[count]} songs were {words}.")
    return sentences


def faults(results: Sequence[Result]) -> str:
    """Each fault by itself."""
    rows = []
    for (name, route), sums in _summed(results, "fault", "route"):
        struck = "chat" if route == "chat" else "embedding"
        injected = sum(result["injected"].get(name, 0) for result in results if _is(result, name, route))
        rows.append([f"`{name}`", meaning(name), struck, injected, *_promises(sums), how(sums, route)])
    return _section(
        "Each fault alone",
        f"{len(results)} trials; the fault strikes the first request, then others at random.",
        [
            "fault",
            "what it is",
            "requests",
            "injected",
            "songs",
            "lost",
            "mixed up",
            "paid twice",
            "the answer",
        ],
        rows,
        "Another song's texts under the right title cannot be detected within an answer; see below.",
    )


def mixtures(results: Sequence[Result]) -> str:
    """All faults that a run survives, at once."""
    [(_, sums)] = _summed(results, "kind")
    injected = sum((Counter(result["injected"]) for result in results), Counter[str]())
    return _section(
        "All of them at once",
        f"{len(results)} trials with {len(injected)} kinds of faults, {injected.total():,} in all, "
        f"in {sums['chat_requests'] + sums['embedding_requests']:,} requests.",
        ["trials", "injected", "songs", "lost", "mixed up", "paid twice", "the answer"],
        [[len(results), injected.total(), *_promises(sums), how(sums, "all")]],
    )


def stops(results: Sequence[Result]) -> str:
    """Faults that no song can survive, from the middle of a run on."""
    rows = []
    for (name, route), sums in _summed(results, "fault", "route"):
        resumed = (
            f"{sums['rows_before']} rows stayed, {sums['replayed']} kept answers were used by the next run"
        )
        rows.append([f"`{name}`", meaning(name), route, *_promises(sums), sums["failed_songs"], resumed])
    return _section(
        "Faults that stop the run",
        "From the middle of a run on, at every request: the run ends with one sentence and blames no song.",
        [
            "fault",
            "what it is",
            "route",
            "songs",
            "lost",
            "mixed up",
            "paid twice",
            "songs blamed",
            "the next run",
        ],
        rows,
    )


def kills(results: Sequence[Result]) -> str:
    """Processes, servers and connections that were killed."""
    rows = []
    for (where,), sums in _summed(results, "where"):
        names = ("kills", "answers_received", "used", "replayed", "uncertain", "asked_twice")
        rows.append([where, *(sums[name] for name in names)])
    return _section(
        "Kills",
        "Whatever was killed, a re-run finished the range, and answers received = used + replayed. "
        "Uncertain requests were in flight at the kill: whether they were billed is not known, and their "
        "songs are asked for again.",
        [
            "where",
            "kills",
            "answers received",
            "used",
            "replayed",
            "uncertain",
            "other songs asked twice",
        ],
        rows,
    )


def lies(results: Sequence[Result]) -> str:
    """Planted lies about whose texts these are."""
    rows = [
        [name, sums["planted"], sums["seen"], f"{sums['seen'] / sums['planted']:.1%}", sums["doubted"]]
        for (name,), sums in _summed(results, "answer")
    ]
    return _section(
        "Lies that are detected, and lies that are not",
        "Planted by `benchmarks/lying_answers.py` into answers for real songs, in packs of ten. A song with "
        "a doubtful entry is asked for again alone, so that no other song can interfere. Copied texts make "
        "both songs doubtful, because nobody knows which one they belong to.",
        ["lie", "songs lied about", "detected", "share", "honest songs doubted"],
        rows,
        "Nothing in an answer distinguishes texts that were swapped under the right titles from honest "
        "ones. The schema makes the model write each title directly before its texts, which makes such a "
        "swap less likely, but does not reveal it.",
    )


def harmless(results: Sequence[Result]) -> str:
    """Honest answers that look odd."""
    rows = [
        [name, sums["honest"], sums["doubted"], f"{sums['doubted'] / sums['honest']:.2%}"]
        for (name,), sums in _summed(results, "answer")
    ]
    return _section(
        "False alarms",
        "Honest answers, as they are and as a model may spell them. A doubted song costs one request more.",
        ["answer", "songs", "doubted", "share"],
        rows,
    )


def meaning(fault: str) -> str:
    """What a fault is, as its own docstring says."""
    return (FAULTS[fault].inject.__doc__ or "").split("\n")[0].rstrip(".")


def how(sums: Counter[str], route: str) -> str:
    """How the system answered a fault, by what it did."""
    if sums["mixed_up"]:
        return "**not detected**"
    in_vectors = route == "embeddings" and not sums["sent_again"]
    done = {
        "waited": sums["waited"],
        "sent again": sums["sent_again"],
        "missing songs asked for together": sums["packs_asked_again"],
        "songs asked for alone": sums["asked_alone"],
        "texts embedded again": sums["texts_embedded_again"] if in_vectors else 0,
        "songs listed as failed": sums["failed_songs"],
        "kept answers used by the next run": sums["replayed"],
    }
    steps = [f"{words} ({number:,})" for words, number in done.items() if number]
    return ", ".join(steps) or "used after cleaning"


def _is(result: Result, fault: str, route: str) -> bool:
    return (result["fault"], result["route"]) == (fault, route)


def _summed(results: Iterable[Result], *names: str) -> list[tuple[tuple[str, ...], Counter[str]]]:
    """The sums of all numbers of the results that agree in these names, in the order in which they came."""
    sums: dict[tuple[str, ...], Counter[str]] = {}
    for result in results:
        of_key = sums.setdefault(tuple(result[name] for name in names), Counter())
        of_key.update({name: value for name, value in result.items() if type(value) is int})
    return list(sums.items())


def _promises(sums: Counter[str]) -> list[int]:
    return [sums[name] for name in ("songs", "lost", "mixed_up", "paid_twice")]


def _section(
    title: str, words: str, head: Sequence[str], rows: Iterable[Sequence[object]], remark: str | None = None
) -> str:
    table = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join([f"## {title}", "", words, "", *table, *(["", remark] if remark else []), ""])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(f"{cell:,}" if type(cell) is int else str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

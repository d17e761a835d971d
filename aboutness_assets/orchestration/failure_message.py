"""The message that tells of failed runs, in the markup of Slack. No I/O."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aboutness_assets.domain.printable import printable_line
from aboutness_assets.money.ledger import Spending

FAILURES_SHOWN = 5
"""Different failures in one message."""

SENTENCE_CHARACTERS = 500

# Chats make links of bare addresses and call people by @: a word joiner breaks both up.
_CALLS = re.compile(r"(?<=http)|(?<=www)|(?<=@)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FailedRun:
    """One failed run. ranges: what it was to fill, '' where it works on no partition."""

    run_id: str
    job: str
    sentence: str
    ranges: str = ""
    is_started_again: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the backfill stands: songs without a row, counted, and what its budget has spent."""

    songs_left: int
    budget: str
    max_usd: float | None
    spending: Spending


def failure_message(failures: Sequence[FailedRun], standing: Standing | None, ui_url: str) -> str:
    """One message about these runs, of which there is one at least; runs with one sentence are told together.

    standing: None where it could not be counted.
    """
    alike: dict[tuple[str, str, bool], list[FailedRun]] = {}
    for failure in failures:
        alike.setdefault((failure.job, failure.sentence, failure.is_started_again), []).append(failure)
    lines = []
    for runs in list(alike.values())[:FAILURES_SHOWN]:
        lines += _told(runs, ui_url.rstrip("/"))
    if len(alike) > FAILURES_SHOWN:
        lines.append(f"… and {len(alike) - FAILURES_SHOWN} other failures: {ui_url.rstrip('/')}/runs")
    return "\n".join([*lines, _standing(standing)])


def _told(runs: Sequence[FailedRun], ui_url: str) -> list[str]:
    first, others = runs[0], len(runs) - 1
    who = (
        f"{chat_text(first.job)} failed"
        if not others
        else f"{len(runs)} runs of {chat_text(first.job)} failed"
    )
    if first.ranges:
        who += f" ({chat_text(first.ranges)}{' and others' if others else ''})"
    again = " Dagster starts it again." if not others else " Dagster starts them again."
    return [
        f"{who}: {chat_text(first.sentence)}{again if first.is_started_again else ''}",
        f"{ui_url}/runs/{first.run_id}",
    ]


def _standing(standing: Standing | None) -> str:
    if standing is None:
        return "Songs left and dollars spent could not be counted."
    spending = standing.spending
    cap = "no cap" if standing.max_usd is None else f"cap ${standing.max_usd:g}"
    spent = f"Spent: ${spending.billed_usd:.4f}"
    if spending.uncertain_usd:
        spent += f", and up to ${spending.uncertain_usd:.4f} that may have been billed"
    return (
        f"Songs without a row: {standing.songs_left:,}. {spent} (budget {chat_text(standing.budget)}, {cap})."
    )


def chat_text(words: str) -> str:
    """Words from outside as one line that a chat shows as they are: no markup, link or mention."""
    line = printable_line(words)
    if len(line) > SENTENCE_CHARACTERS:
        line = line[:SENTENCE_CHARACTERS] + " …"
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _CALLS.sub("\u2060", escaped)

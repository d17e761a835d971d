"""Markdown tables for Dagster's UI. Titles, artists and answers are data: nothing in a cell may render."""

import re
from collections.abc import Sequence

from aboutness_assets.acceptance.smoke import SmokeLine
from aboutness_assets.acceptance.tables import yes_or_no
from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.domain.findings import Finding
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.pipeline.report import Report

FAILED_SONGS_SHOWN = 100
"""Rows of the table of failed songs; the log names all of them."""

# The UI also makes links of bare addresses, after it has resolved escapes: a word joiner breaks them up.
_ADDRESS = re.compile(r"(?<=http)|(?<=www)|(?=@)", re.IGNORECASE)
_MARKUP = re.compile(r"([\\\\`*_{}\[\]<>()#+!|~&-])")


def failed_songs_table(report: Report) -> str:
    """The failed songs and why, as a Markdown table."""
    lines = ["| song_id | cause | reason |", "|---|---|---|"]
    lines += [
        f"| {_cell(failure.song_id)} | {failure.cause} | {_cell(failure.reason)} |"
        for failure in report.failed[:FAILED_SONGS_SHOWN]
    ]
    if len(report.failed) > FAILED_SONGS_SHOWN:
        lines.append(f"\n… and {len(report.failed) - FAILED_SONGS_SHOWN} more: see the log.")
    return "\n".join(lines)


def failed_records_table(records: Sequence[FailedSongRecord]) -> str:
    """Failed songs on record, as a Markdown table."""
    lines = [
        "| song_id | cause | runs | quarantined | range | last | reason |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {_cell(record.song_id)} | {record.cause} | {record.attempts}"
        f" | {'yes' if record.quarantined else 'no'} | {_cell(record.range_key)}"
        f" | {record.last_failed_at:%Y-%m-%d %H:%M} | {_cell(record.reason)} |"
        for record in records
    ]
    return "\n".join(lines)


def findings_markdown(findings: Sequence[Finding]) -> str:
    """What a preflight found, as a Markdown table: first what fails, then what is warned about."""
    order = ["fail", "warn", "pass", "info"]
    lines = ["| check | found | pass | what to do |", "|---|---|---|---|"]
    lines += [
        f"| {_cell(finding.check)} | {_cell(finding.found, 500)} | {finding.outcome}"
        f" | {_cell(finding.what_to_do, 500)} |"
        for finding in sorted(findings, key=lambda each: order.index(each.outcome))
    ]
    return "\n".join(lines)


def acceptance_markdown(lines: Sequence[SmokeLine]) -> str:
    """The acceptance table of a smoke run, as a Markdown table: first what fails."""
    rows = ["| criterion | threshold | measured | pass |", "|---|---|---|---|"]
    rows += [
        f"| {line.name} | {_cell(line.threshold)} | {_cell(line.measured)} | {yes_or_no(line.passed)} |"
        for line in sorted(lines, key=lambda line: line.passed)
    ]
    return "\n".join(rows)


def sample_table(report: Report) -> str:
    """A few written texts, as a Markdown table."""
    lines = ["| song_id | title | artist | emotions | moments |", "|---|---|---|---|---|"]
    lines += [
        f"| {_cell(song.song_id)} | {_cell(song.title)} | {_cell(song.artist)}"
        f" | {_cell(about.emotions_text)} ({about.emotions_confidence})"
        f" | {_cell(about.moments_text)} ({about.moments_confidence}) |"
        for song, about in report.sample
    ]
    return "\n".join(lines)


def _cell(value: object, characters: int = 200) -> str:
    """A value as one line of Markdown that shows it as it is, at most so many characters of it."""
    return _MARKUP.sub(r"\\\1", _ADDRESS.sub("\u2060", printable_line(str(value)[:characters])))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Any rows as a Markdown table; whole numbers are shown with commas."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [
        f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else _cell(cell) for cell in row)} |"
        for row in rows
    ]
    return "\n".join(lines)


def plain(value: object) -> str:
    """A value within a line of Markdown, which shows it as it is."""
    return _cell(value)

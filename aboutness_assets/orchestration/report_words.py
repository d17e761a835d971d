"""The sentences and rows of numbers of a readiness report, as its page and its metadata show them."""

from __future__ import annotations

from collections.abc import Sequence

from aboutness_assets.acceptance.report_content import Coverage, ReadinessReport, RowsRead, Spent, Throughput

RUNS_SHOWN = 10
"""Runs listed, the latest ones."""


def coverage_words(coverage: Coverage) -> str:
    """How much of the catalogue has a row, and in what it was counted."""
    words = [f"{coverage.with_row:,} of {coverage.songs:,} songs have a row, counted"]
    words[0] += " in the whole catalogue." if coverage.is_whole else " in the ranges."
    if not coverage.is_whole:
        words.append("Counting the whole catalogue in one statement took too long.")
    words.append(f"{coverage.complete:,} of {coverage.ranges:,} ranges are complete.")
    if coverage.uncounted:
        words.append(f"{coverage.uncounted:,} ranges took too long to count and are left out.")
    if coverage.is_whole and not coverage.uncounted and coverage.songs > coverage.in_ranges:
        words.append(f"{coverage.songs - coverage.in_ranges:,} songs are in no range yet.")
    return " ".join(words)


def read_words(read: RowsRead) -> str:
    """Whether what is said of texts was counted in all ranges or in a sample of them."""
    too_long = f" {read.too_long:,} ranges took too long to read." if read.too_long else ""
    if read.is_everything:
        return f"Counted in all {read.new_rows:,} new rows of all {read.of_ranges:,} ranges."
    return (
        f"From a sample: {read.new_rows:,} new rows in {read.ranges:,} of {read.of_ranges:,} ranges, spread "
        f"evenly over the catalogue.{too_long}"
    )


def old_and_new_rows(report: ReadinessReport) -> list[tuple[str, int | str, str]]:
    """(what, rows, in what they were counted)."""
    read = report.read
    where = f"in {'all' if read.is_everything else f'{read.ranges:,} of'} {read.of_ranges:,} ranges"
    recorded = report.old_style_recorded
    return [
        ("new rows", read.new_rows, where),
        ("old-style rows", read.old_style_rows, where),
        (
            "old-style rows on record",
            "none yet" if recorded is None else recorded,
            "when this project first saw the table",
        ),
        ("all rows", "not counted" if report.rows is None else report.rows, "in the whole table"),
    ]


def usd(dollars: float) -> str:
    """Dollars, with more digits where they are few."""
    return f"${dollars:,.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.4f}"


def spending_rows(spent: Spent) -> list[tuple[str, str, int, str, str]]:
    """Per kind and state of requests: how many, dollars billed, and at most."""
    return [
        (
            "texts" if line.kind == "chat" else "vectors",
            line.state,
            line.requests,
            usd(line.usd) if line.state == "billed" else "",
            usd(line.max_usd) if line.state in ("uncertain", "in_flight") else "",
        )
        for line in spent.lines
    ]


def spent_words(spent: Spent) -> str:
    """What was spent, what may have been, and what is left to spend."""
    words = [f"Billed: {usd(spent.billed_usd)}."]
    if spent.uncertain_usd:
        words.append(f"Requests that may have been billed cost at most {usd(spent.uncertain_usd)} more.")
    if spent.unpriced:
        words.append(f"{spent.unpriced:,} billed requests have no known price and are in no sum.")
    if spent.to_go_usd is None:
        words.append(f"To go: {spent.basis}.")
    else:
        low, expected, high = spent.to_go_usd
        band = "" if low == high else f" ({usd(low)} to {usd(high)})"
        words.append(f"To go, an estimate: {usd(expected)}{band}, from {spent.basis}.")
    return " ".join(words)


def throughput_words(throughput: Throughput, read: RowsRead) -> str:
    """How fast rows came in while they came in."""
    if not throughput.busy_minutes:
        return "No new row was read."
    return (
        f"{throughput.busy_per_hour:,.0f} rows per hour in the {throughput.busy_minutes:,} minutes in which "
        f"any row was created. {read_words(read)}"
    )


def width_words(throughput: Throughput) -> str:
    """How long the time of one bar is."""
    minutes = throughput.minutes_per_bar
    if minutes < 60:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    if minutes < 1440:
        return f"{minutes // 60} hour{'s' if minutes > 60 else ''}"
    return "a day" if minutes == 1440 else "a week"


def run_rows(throughput: Throughput) -> list[Sequence[object]]:
    """The latest runs: id, begin, duration, chat requests, dollars, rows meanwhile, songs per hour."""
    return [
        (
            run.spending.run_id[:8],
            f"{run.spending.began:%Y-%m-%d %H:%M}",
            _duration(run.hours),
            run.spending.chat_requests,
            usd(run.spending.usd),
            "not counted" if run.rows is None else run.rows,
            "" if run.rows_per_hour is None else f"{run.rows_per_hour:,.0f}",
        )
        for run in throughput.runs[:RUNS_SHOWN]
    ]


def _duration(hours: float) -> str:
    minutes = 60 * hours
    if minutes < 2:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"

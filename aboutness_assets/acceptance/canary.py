"""The table of a canary: what its ranges came to, and what the rest of the catalogue will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aboutness_assets.acceptance.criteria import NO_FAILED_SONGS, READY_TO_ENABLE
from aboutness_assets.acceptance.tables import plain_table
from aboutness_assets.acceptance.telling_sample import Chosen
from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.domain.findings import Finding
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.money.estimate_text import duration
from aboutness_assets.pipeline.report import Report, commonest_reason, counted, dollars


def written_lines(reports: Mapping[str, Report], pack_size: int) -> list[Finding]:
    """What was done in the ranges of a canary; fails where no row was written, or packs were of no use."""
    written = _written(reports)
    to_write = sum(report.songs_in_range - report.songs_skipped_existing for report in reports.values())
    packs = sum(report.batch_requests for report in reports.values())
    alone = sum(report.single_song_requests for report in reports.values())
    replayed = sum(report.answers_replayed for report in reports.values())
    kept = f", {replayed} answers kept from before" if replayed else ""
    rate = f"{songs_per_second(reports):.1f} per second"
    rows = Finding("rows written", f"{written:,} of {to_write:,} in {_seconds(reports):.1f} s, {rate}")
    if not written:
        rows = replace(rows, outcome="fail", what_to_do="Nothing was written, so nothing was learned.")
    batch = Finding(
        "batch path used", f"{packs} requests for packs of {pack_size}, {alone} for one song{kept}"
    )
    if 2 * alone > to_write:
        batch = replace(batch, outcome="fail", what_to_do="Most packs failed: lower ABOUTNESS_PACK_SIZE.")
    return [
        Finding("ranges", ", ".join(reports), "info"),
        rows,
        _failed_songs(reports),
        batch,
        Finding("spent", _spent(reports), "info"),
    ]


def verdict_lines(verdicts: Sequence[Verdict]) -> list[Finding]:
    """The criteria; one that only warns does not fail a canary, and readiness is not expected of it."""
    return [
        Finding(
            verdict.name,
            verdict.description,
            "pass" if verdict.passed else "warn" if verdict.criterion.warns_only else "fail",
        )
        for verdict in verdicts
        if verdict.criterion not in (READY_TO_ENABLE, NO_FAILED_SONGS)
    ]


def time_at_measured_rate(songs_left: int, reports: Mapping[str, Report]) -> Finding:
    """How long the songs left would take at the rate of the canary."""
    rate = songs_per_second(reports)
    found = "unknown: nothing was written"
    if rate:
        found = f"{duration(songs_left / rate / 60)} at {rate:.1f} songs per second, its start included"
    return Finding("time at this rate", found, "info")


def sample_lines(sample: Sequence[Chosen]) -> str:
    """A telling sample of texts as plain text for a log."""
    rows = [
        (
            each.why,
            f"{each.row.title}, {each.row.artist}",
            f"{each.row.emotions_text} ({each.row.emotions_confidence})",
            f"{each.row.moments_text} ({each.row.moments_confidence})",
        )
        for each in sample
    ]
    return plain_table(
        ("why", "song", "emotions", "moments"), [tuple(map(printable_line, row)) for row in rows]
    )


def songs_per_second(reports: Mapping[str, Report]) -> float:
    """Rows written per second of wall time, all ranges together."""
    seconds = _seconds(reports)
    return _written(reports) / seconds if seconds else 0.0


def _written(reports: Mapping[str, Report]) -> int:
    return sum(report.songs_written for report in reports.values())


def _seconds(reports: Mapping[str, Report]) -> float:
    """From the first range's start to the last one's end; 0 for none."""
    began = min((report.started_at for report in reports.values()), default=0.0)
    return max((report.started_at + report.seconds for report in reports.values()), default=0.0) - began


def _failed_songs(reports: Mapping[str, Report]) -> Finding:
    failed = [failure for report in reports.values() for failure in report.failed]
    if not failed:
        return Finding("failed songs", "none")
    return Finding(
        "failed songs",
        f"{counted(len(failed))} without a row. {commonest_reason(failed)}",
        "warn",
        "The metadata of their range lists them; its next run asks for them again.",
    )


def _spent(reports: Mapping[str, Report]) -> str:
    """What the ranges cost; None in one of them means that a price is unknown."""
    costs = [report.cost_usd for report in reports.values()]
    known = [cost for cost in costs if cost is not None]
    usd = sum(known) if len(known) == len(costs) else None
    uncertain = sum(report.uncertain_usd for report in reports.values())
    more = f", up to {dollars(uncertain)} more may be billed" if uncertain else ""
    prices = ", ".join(sorted({report.prices_from for report in reports.values() if report.prices_from}))
    return f"{dollars(usd)}{more}" + (f" (prices: {prices})" if prices else "")

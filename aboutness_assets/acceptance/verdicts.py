"""The acceptance criteria as verdicts: of the asset checks, and of the table that a smoke run prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.database.service.text_criteria import TextCounts
from aboutness_assets.pipeline.report import Report

READY_COVERAGE = 0.5
"""Share of the catalogue that must have a row before the service's search is switched over (CONTRACT)."""

IDS_SHOWN = 20
"""Song ids named in a verdict."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the acceptance table."""

    name: str
    threshold: str
    measured: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one asset check; details go into its metadata."""

    name: str
    passed: bool
    description: str
    details: dict[str, int | float | bool | str | list[str]] = field(default_factory=dict)
    failed_songs: tuple[FailedSongRecord, ...] = ()


def text_verdicts(counts: TextCounts, looked_at: str) -> list[Verdict]:
    """One verdict for each text criterion."""
    return [
        Verdict(
            name,
            count == 0,
            f"{count} of {counts.new_rows} new rows violate it." if count else "Every new row holds it.",
            {
                "rows_violating": count,
                "new_rows_looked_at": counts.new_rows,
                "looked_at": looked_at,
                "song_ids": [str(song_id) for song_id in counts.examples.get(name, [])],
            },
        )
        for name, count in counts.violations.items()
    ]


def old_style_verdict(comparison: OldStyleComparison) -> Verdict:
    """The verdict on old-style rows."""
    broken = comparison.changed + comparison.gone
    description = f"All {comparison.recorded} old-style rows are byte for byte as they were first seen."
    if not comparison.untouched:
        description = (
            f"{len(comparison.changed)} old-style rows changed, {len(comparison.gone)} are gone. "
            "This project has no right to do either: ask who else writes there."
            f" {comparison.problem}"
        ).strip()
    return Verdict(
        "old_style_rows_untouched",
        comparison.untouched,
        description,
        {
            "old_style_rows": comparison.recorded,
            "rows_changed": len(comparison.changed),
            "rows_gone": len(comparison.gone),
            "song_ids": broken[:IDS_SHOWN],
        },
    )


def ready_verdict(songs: int, rows: int, others: Sequence[Verdict], *, estimated: bool) -> Verdict:
    """Whether the search may be switched over: enough of the catalogue has a row, all other criteria hold."""
    share = rows / songs if songs else 0.0
    failing = [verdict.name for verdict in others if not verdict.passed]
    description = f"{rows} of {songs} songs ({share:.1%}) have a row; {READY_COVERAGE:.0%} are needed."
    if failing:
        description += f" These criteria fail: {', '.join(failing)}."
    return Verdict(
        "ready_to_enable",
        share >= READY_COVERAGE and not failing,
        description,
        {"songs": songs, "songs_with_row": rows, "coverage": share, "estimated": estimated},
    )


def failed_songs_verdict(causes: Mapping[str, int], latest: Sequence[FailedSongRecord]) -> Verdict:
    """Whether songs are on record as failed; not a criterion, as single songs may fail for good."""
    total = sum(causes.values())
    quarantined = sum(record.quarantined for record in latest)
    spelt = ", ".join(f"{count} {cause}" for cause, count in causes.items())
    return Verdict(
        "no_failed_songs",
        total == 0,
        f"{total} songs have failed and have no row: {spelt}."
        if total
        else "No song is on record as failed.",
        {"songs_failed": total, "songs_in_quarantine": quarantined, **causes},
        tuple(latest),
    )


def smoke_criteria(
    report: Report, rows: TextCounts, old_style: OldStyleComparison, pack_size: int
) -> list[Criterion]:
    """The lines of the acceptance table of a smoke run.

    The batch path counts as used as long as no more than half of the songs had to be asked alone.
    """
    songs = report.songs_in_range
    replayed = f", {report.answers_replayed} answers kept from before" if report.answers_replayed else ""
    return [
        Criterion("every song has a row", f"all {songs}", str(rows.new_rows), rows.new_rows == songs),
        Criterion(
            "batch path used",
            f"{-(-songs // pack_size)} requests for {songs} songs, at most half of them asked alone",
            f"{report.batch_requests} batch, {report.single_song_requests} single-song requests{replayed}",
            2 * report.single_song_requests <= songs,
        ),
        *(
            Criterion(name, "0 rows violate it", f"{count} of {rows.new_rows} rows", count == 0)
            for name, count in rows.violations.items()
        ),
        Criterion(
            "old_style_rows_untouched",
            "0 changed, 0 gone",
            f"{len(old_style.changed)} changed, {len(old_style.gone)} gone of {old_style.recorded}",
            old_style.untouched,
        ),
    ]


def acceptance_table(criteria: Sequence[Criterion]) -> str:
    """The criteria as a plain-text table for a log."""
    return _table(
        ("criterion", "threshold", "measured", "pass"),
        [(c.name, c.threshold, c.measured, _yes(c.passed)) for c in criteria],
    )


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a plain-text table for a log."""
    return _table(("check", "measured", "pass"), [(v.name, v.description, _yes(v.passed)) for v in verdicts])


def _yes(passed: bool) -> str:
    return "yes" if passed else "NO"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "-+-".join("-" * width for width in widths), *lines[1:]])

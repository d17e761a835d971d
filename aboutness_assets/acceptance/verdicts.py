"""Verdicts on the acceptance criteria, from counts and comparisons. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aboutness_assets.acceptance.criteria import (
    NO_FAILED_SONGS,
    OLD_STYLE_ROWS_UNTOUCHED,
    READY_TO_ENABLE,
    TEXT_CRITERIA,
    Criterion,
)
from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.tables import plain_table, yes_or_no
from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.database.service.text_criteria import TextCounts

READY_COVERAGE = 0.5
"""Share of the catalogue that must have a row before the service's search is switched over (CONTRACT)."""

IDS_SHOWN = 20
"""Song ids named in a verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a criterion passes: the result of one asset check. The details become its metadata."""

    criterion: Criterion
    passed: bool
    description: str
    details: dict[str, int | float | bool | str | list[str]] = field(default_factory=dict)
    failed_songs: tuple[FailedSongRecord, ...] = ()

    @property
    def name(self) -> str:
        """The name of the criterion, which is that of its asset check."""
        return self.criterion.name


def text_verdicts(counts: TextCounts, looked_at: str) -> list[Verdict]:
    """One verdict per text criterion; looked_at says which rows were counted."""
    verdicts = []
    for criterion in TEXT_CRITERIA:
        count = counts.violations[criterion.name]
        description = f"All {counts.new_rows} new rows pass."
        if count:
            description = f"{count} of {counts.new_rows} new rows violate it."
        verdicts.append(
            Verdict(
                criterion,
                count == 0,
                description,
                {
                    "rows_violating": count,
                    "new_rows_looked_at": counts.new_rows,
                    "looked_at": looked_at,
                    "song_ids": [str(song_id) for song_id in counts.examples.get(criterion.name, [])],
                },
            )
        )
    return verdicts


def old_style_verdict(comparison: OldStyleComparison) -> Verdict:
    """The verdict on old-style rows."""
    broken = comparison.changed + comparison.gone
    description = f"All {comparison.recorded} old-style rows are byte for byte as they were when first seen."
    if not comparison.untouched:
        description = (
            f"{len(comparison.changed)} old-style rows changed, {len(comparison.gone)} are gone. "
            "This project does neither: find out who else writes to the table."
            f" {comparison.problem}"
        ).strip()
    return Verdict(
        OLD_STYLE_ROWS_UNTOUCHED,
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
    """Whether the search may be switched over: enough songs have a row and all other criteria pass.

    songs, rows: of the catalogue, and those among them that have a row; estimated: by Postgres' statistics.
    """
    share = rows / songs if songs else 0.0
    failing = [verdict.name for verdict in others if not verdict.passed]
    description = f"{rows} of {songs} songs ({share:.1%}) have a row; {READY_COVERAGE:.0%} are needed."
    if failing:
        description += f" These criteria fail: {', '.join(failing)}."
    return Verdict(
        READY_TO_ENABLE,
        share >= READY_COVERAGE and not failing,
        description,
        {"songs": songs, "songs_with_row": rows, "coverage": share, "estimated": estimated},
    )


def failed_songs_verdict(causes: Mapping[str, int], latest: Sequence[FailedSongRecord]) -> Verdict:
    """Whether songs are recorded as failed: how many per cause, and the latest of them."""
    total = sum(causes.values())
    quarantined = sum(record.quarantined for record in latest)
    per_cause = ", ".join(f"{count} {cause}" for cause, count in causes.items())
    return Verdict(
        NO_FAILED_SONGS,
        total == 0,
        f"{total} songs failed and have no row: {per_cause}." if total else "No song is recorded as failed.",
        {"songs_failed": total, "songs_in_quarantine": quarantined, **causes},
        tuple(latest),
    )


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a plain-text table for a log."""
    return plain_table(
        ("check", "found", "pass"),
        [(verdict.name, verdict.description, yes_or_no(verdict.passed)) for verdict in verdicts],
    )

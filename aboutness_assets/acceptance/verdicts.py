"""Verdicts on the acceptance criteria, from looks and comparisons. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aboutness_assets.acceptance.coverage import Coverage
from aboutness_assets.acceptance.criteria import (
    NEW_ROW_CRITERIA,
    NO_FAILED_SONGS,
    OLD_STYLE_ROWS_UNTOUCHED,
    READY_TO_ENABLE,
    Criterion,
)
from aboutness_assets.acceptance.looks import OLD_STYLE_ROW_ADDED, Look
from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.readiness import READY_COVERAGE, Readiness
from aboutness_assets.acceptance.tables import plain_table, yes_or_no
from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.database.operations.verification import WholeLook

IDS_SHOWN = 20
"""Song ids named in a verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a criterion passes: the result of one asset check. The details become its metadata.

    readiness: what READY_TO_ENABLE rests on; None for the others.
    """

    criterion: Criterion
    passed: bool
    description: str
    details: dict[str, int | float | bool | str | list[str]] = field(default_factory=dict)
    failed_songs: tuple[FailedSongRecord, ...] = ()
    readiness: Readiness | None = None

    @property
    def name(self) -> str:
        """The name of the criterion, which is that of its asset check."""
        return self.criterion.name


@dataclass(frozen=True, slots=True)
class LookedAt:
    """Which rows a verdict rests on.

    whole: the last look at the whole table; ranges: None where that was just now, else how many ranges were
    looked at since, beside the rows that were known to violate something.
    """

    whole: WholeLook
    ranges: int | None = None
    rows_of_ranges: int = 0

    @property
    def rows(self) -> int:
        """Rows that were just looked at."""
        return self.whole.rows if self.ranges is None else self.rows_of_ranges

    def __str__(self) -> str:
        if self.ranges is None:
            return f"the whole table, {self.rows} rows"
        return (
            f"{self.rows} rows of {self.ranges} ranges; "
            f"the whole table, {self.whole.rows} rows, at {self.whole.looked_at:%Y-%m-%d %H:%M} UTC"
        )


def new_row_verdicts(look: Look, looked_at: LookedAt) -> list[Verdict]:
    """One verdict per criterion on new rows."""
    verdicts = []
    for criterion in NEW_ROW_CRITERIA:
        count = look.counts[criterion.name]
        description = f"{count} new rows violate it." if count else "No new row violates it."
        verdicts.append(
            Verdict(
                criterion,
                count == 0,
                f"{description} Looked at: {looked_at}.",
                {
                    "rows_violating": count,
                    "rows_looked_at": looked_at.rows,
                    "looked_at": str(looked_at),
                    "song_ids": look.song_ids[criterion.name][:IDS_SHOWN],
                },
            )
        )
    return verdicts


def old_style_verdict(comparison: OldStyleComparison, look: Look, looked_at: LookedAt) -> Verdict:
    """The verdict on old-style rows; the look tells which were added."""
    added = look.counts[OLD_STYLE_ROW_ADDED]
    broken = [*comparison.changed, *comparison.gone, *look.song_ids[OLD_STYLE_ROW_ADDED]]
    passed = comparison.untouched and not added
    description = (
        f"{comparison.compared} of {comparison.recorded} old-style rows on record were compared: they are "
        "byte for byte as they were when first seen. None was added."
    )
    if not passed:
        description = (
            f"Of {comparison.recorded} old-style rows on record {len(comparison.changed)} changed and "
            f"{len(comparison.gone)} are gone; {added} rows dated before the rollout were added. "
            "This project does nothing of the kind: find out who else writes to the table. "
            f"{comparison.problem}"
        ).strip()
    return Verdict(
        OLD_STYLE_ROWS_UNTOUCHED,
        passed,
        description,
        {
            "old_style_rows": comparison.recorded,
            "rows_compared": comparison.compared,
            "rows_changed": len(comparison.changed),
            "rows_gone": len(comparison.gone),
            "rows_added": added,
            "looked_at": str(looked_at),
            "song_ids": broken[:IDS_SHOWN],
        },
    )


def ready_verdict(coverage: Coverage, others: Sequence[Verdict]) -> Verdict:
    """Whether the search may be switched over: enough songs have a row, and no criterion on rows fails."""
    readiness = Readiness(coverage, {verdict.name: verdict.passed for verdict in others})
    songs, rows = coverage.songs, coverage.with_row
    description = (
        f"{rows} of {songs} songs ({readiness.percent}%) have a row; {READY_COVERAGE:.0%} are needed."
    )
    if coverage.counted_since:
        description += f" Counted range by range, the first at {coverage.counted_since:%Y-%m-%d %H:%M} UTC."
    if readiness.failing:
        description += f" These criteria fail: {', '.join(readiness.failing)}."
    return Verdict(
        READY_TO_ENABLE,
        readiness.is_ready,
        description,
        {"songs": songs, "songs_with_row": rows, "coverage": round(readiness.percent / 100, 3)},
        readiness=readiness,
    )


def failed_songs_verdict(
    causes: Mapping[str, int], quarantined: int, latest: Sequence[FailedSongRecord]
) -> Verdict:
    """Whether songs are recorded as failed: how many per cause and in quarantine, and the latest of them."""
    total = sum(causes.values())
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

"""The acceptance table of a smoke run: what was demanded of it and what it did."""

from collections.abc import Sequence
from dataclasses import dataclass

from aboutness_assets.acceptance.criteria import NEW_ROW_CRITERIA, OLD_STYLE_ROWS_UNTOUCHED
from aboutness_assets.acceptance.looks import OLD_STYLE_ROW_ADDED, Look
from aboutness_assets.acceptance.old_style import OldStyleComparison
from aboutness_assets.acceptance.tables import plain_table, yes_or_no
from aboutness_assets.pipeline.report import Report


@dataclass(frozen=True, slots=True)
class SmokeLine:
    """One line of the acceptance table."""

    name: str
    threshold: str
    measured: str
    passed: bool


def smoke_lines(report: Report, look: Look, old_style: OldStyleComparison, pack_size: int) -> list[SmokeLine]:
    """The lines of the acceptance table.

    look: at the rows of the smoke run's songs. The batch path counts as used as long as at most half
    of the songs had to be asked for alone.
    """
    songs = report.songs_in_range
    added = look.counts[OLD_STYLE_ROW_ADDED]
    replayed = f", {report.answers_replayed} answers kept from before" if report.answers_replayed else ""
    return [
        SmokeLine("every song has a row", f"all {songs}", str(look.rows), look.rows == songs),
        SmokeLine(
            "batch path used",
            f"{-(-songs // pack_size)} requests for {songs} songs, at most half of them asked for alone",
            f"{report.batch_requests} batch, {report.single_song_requests} single-song requests{replayed}",
            2 * report.single_song_requests <= songs,
        ),
        *(
            SmokeLine(criterion.name, "0 rows violate it", f"{count} of {look.rows} rows", count == 0)
            for criterion in NEW_ROW_CRITERIA
            for count in [look.counts[criterion.name]]
        ),
        SmokeLine(
            OLD_STYLE_ROWS_UNTOUCHED.name,
            "0 changed, 0 gone, 0 added",
            f"{len(old_style.changed)} changed, {len(old_style.gone)} gone of {old_style.recorded}; "
            f"{added} added",
            old_style.untouched and not added,
        ),
    ]


def acceptance_table(lines: Sequence[SmokeLine]) -> str:
    """The acceptance table as plain text for a log."""
    return plain_table(
        ("criterion", "threshold", "measured", "pass"),
        [(line.name, line.threshold, line.measured, yes_or_no(line.passed)) for line in lines],
    )

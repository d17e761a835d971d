"""The acceptance criteria of song_aboutness by name: what each demands, and whether it only warns.

Their evaluation is in evaluate.py, and its SQL in database/service.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion, which is one asset check (CONTRACT: Dagster).

    warns_only: its failure is no defect of the rows and does not fail a run.
    """

    name: str
    description: str
    warns_only: bool = False


TEXT_CRITERIA = (
    Criterion("emotions_text_within_100_chars", "Every new row's emotions_text has at most 100 characters."),
    Criterion("moments_text_within_100_chars", "Every new row's moments_text has at most 100 characters."),
    Criterion("emotions_text_without_confidence_tag", "No new row's emotions_text contains [confidence: …]."),
    Criterion("moments_text_without_confidence_tag", "No new row's moments_text contains [confidence: …]."),
)
"""The criteria for the texts of new rows; old-style rows are exempt."""

OLD_STYLE_ROWS_UNTOUCHED = Criterion(
    "old_style_rows_untouched", "Every old-style row is byte for byte as it was when first seen."
)

READY_TO_ENABLE = Criterion(
    "ready_to_enable",
    "At least half of the catalogue's songs have a row, and every other criterion passes.",
    warns_only=True,  # too few rows is no defect: the backfill is not finished yet
)

NO_FAILED_SONGS = Criterion(
    "no_failed_songs",
    "No song is recorded as failed; the metadata lists those that are, and why.",
    warns_only=True,  # single songs may fail for good
)

CRITERIA = (*TEXT_CRITERIA, OLD_STYLE_ROWS_UNTOUCHED, READY_TO_ENABLE, NO_FAILED_SONGS)

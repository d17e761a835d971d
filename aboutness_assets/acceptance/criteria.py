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


NEW_ROW_CRITERIA = (
    Criterion("emotions_text_within_100_chars", "Every new row's emotions_text has at most 100 characters."),
    Criterion("moments_text_within_100_chars", "Every new row's moments_text has at most 100 characters."),
    Criterion("emotions_text_without_confidence_tag", "No new row's emotions_text contains [confidence: …]."),
    Criterion("moments_text_without_confidence_tag", "No new row's moments_text contains [confidence: …]."),
    Criterion(
        "new_rows_complete",
        "Every new row has texts that are not blank, confidences of low, medium and high, vectors of the "
        "columns' dimension, and a date.",
    ),
)
"""The criteria for new rows, which are all rows that are not on record as old-style."""

OLD_STYLE_ROWS_UNTOUCHED = Criterion(
    "old_style_rows_untouched",
    "Every old-style row is byte for byte as it was when first seen, and none was added.",
)

READY_TO_ENABLE = Criterion(
    "ready_to_enable",
    "At least half of the catalogue's songs have a row, counted, and no criterion on rows fails.",
    warns_only=True,  # too few rows is no defect: the backfill is not finished yet
)

NO_FAILED_SONGS = Criterion(
    "no_failed_songs",
    "No song is recorded as failed; the metadata lists those that are, and why.",
    warns_only=True,  # single songs may fail for good
)

CRITERIA = (*NEW_ROW_CRITERIA, OLD_STYLE_ROWS_UNTOUCHED, READY_TO_ENABLE, NO_FAILED_SONGS)

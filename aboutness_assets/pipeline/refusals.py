"""Tells a table that takes no row from rows that it refuses: one for all ranges of a run."""

from collections import Counter
from collections.abc import Collection

from aboutness_assets.database.service.aboutness_table import Inserted
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import SongId

SINGLE_ROW = 1
"""So many refused rows may be the fault of their songs, though no row was taken yet."""


class Refusals:
    """Refused rows of a run, until the first row is taken: from then on each is the fault of its song."""

    def __init__(self) -> None:
        self._table_takes_rows = False
        self._reasons: Counter[str] = Counter()

    def judge(self, inserted: Inserted, refused_before: Collection[SongId]) -> None:
        """Look at what became of some rows. Raises FatalError where none of the first rows was taken.

        refused_before: songs whose rows earlier runs saw refused; they, and texts that do not fit the
        server's encoding, say nothing about the table.
        """
        self._table_takes_rows |= inserted.written > 0
        if self._table_takes_rows:
            return
        self._reasons.update(
            row.reason
            for row in inserted.refused
            if row.song_id not in refused_before and not row.has_foreign_characters
        )
        refused = self._reasons.total()
        if refused > SINGLE_ROW:
            [(reason, _)] = self._reasons.most_common(1)
            raise FatalError(
                f"song_aboutness took none of the first {refused} rows. {reason} No song is blamed, nothing "
                "more was asked for, and what was paid for is kept: change the table, its constraints, "
                "triggers or policies, then run it again. It begins with the kept answers, at no cost."
            )

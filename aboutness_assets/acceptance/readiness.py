"""What decides whether the service's search may be switched over. No I/O."""

import math
from dataclasses import dataclass

from aboutness_assets.acceptance.coverage import Coverage

READY_COVERAGE = 0.5
"""Share of the catalogue that must have a row before the service's search is switched over (CONTRACT)."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How many songs have a row, counted, and which criteria on rows pass.

    criteria: their names, each with whether it passes.
    """

    coverage: Coverage
    criteria: dict[str, bool]

    @property
    def failing(self) -> list[str]:
        """The names of the criteria on rows that fail."""
        return [name for name, passed in self.criteria.items() if not passed]

    @property
    def is_enough(self) -> bool:
        """Whether enough songs have a row; an empty catalogue never has."""
        songs = self.coverage.songs
        return songs > 0 and self.coverage.with_row >= READY_COVERAGE * songs

    @property
    def is_ready(self) -> bool:
        """Whether the search may be switched over."""
        return self.is_enough and not self.failing

    @property
    def percent(self) -> float:
        """The songs that have a row, in percent with one decimal, rounded down: 49.99 % is not half."""
        songs = self.coverage.songs
        return math.floor(1000 * self.coverage.with_row / songs) / 10 if songs else 0.0

    @property
    def rows_missing(self) -> int:
        """Rows that are missing until enough songs have one."""
        return max(0, math.ceil(READY_COVERAGE * self.coverage.songs) - self.coverage.with_row)

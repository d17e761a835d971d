"""What one run did, in numbers: the metadata of a materialization, the rows of the acceptance table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aboutness_assets.domain.songs import Aboutness, FailedSong, Song
from aboutness_assets.money.ledger import Totals

SAMPLE_SIZE = 5
"""Written texts shown with a materialization, enough for a look."""


@dataclass(slots=True)
class Report:
    """Counts of one run over one range (or over the songs of a smoke run).

    songs_skipped_existing: whose row this run did not write. songs_found_written: those of them that had no
    row yet when the songs were read. songs_left_out: failed songs that were not asked for (in quarantine, or
    nothing is known).
    seconds: wall time from the first read to the last insert. songs_per_second: rows of the whole run, as its
    ranges are filled at the same time.
    """

    songs_in_range: int = 0
    songs_written: int = 0
    songs_skipped_existing: int = 0
    songs_found_written: int = 0
    songs_left_out: int = 0
    batch_requests: int = 0
    single_song_requests: int = 0
    embedding_requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    embedding_tokens: int = 0
    answers_replayed: int = 0
    uncertain_requests: int = 0
    uncertain_usd: float = 0.0
    rate_limited_requests: int = 0
    cost_usd: float | None = 0.0
    prices_from: str = ""
    failed: list[FailedSong] = field(default_factory=list)
    sample: list[tuple[Song, Aboutness]] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    songs_per_second: float = 0.0

    @property
    def songs_failed(self) -> int:
        """Songs that were left without a row."""
        return len(self.failed)

    @property
    def rows(self) -> int:
        """Songs of the range that have a row."""
        return self.songs_written + self.songs_skipped_existing

    def account(self, totals: Totals, songs_per_second: float) -> None:
        """Take over what the ledger knows of the range, and the pace of the run; stops the clock.

        Attempts of earlier runs over the range that no materialization has counted are among them.
        """
        self.seconds = time.monotonic() - self.started_at
        self.songs_per_second = songs_per_second
        self.embedding_requests = totals.embedding_requests
        self.prompt_tokens = totals.prompt_tokens
        self.cached_tokens = totals.cached_tokens
        self.completion_tokens = totals.completion_tokens
        self.embedding_tokens = totals.embedding_tokens
        self.cost_usd = totals.usd
        self.uncertain_requests = totals.uncertain_requests
        self.uncertain_usd = totals.uncertain_usd

    def warning(self) -> str:
        """One sentence where songs are left without a row, '' where none is."""
        if not self.failed:
            return ""
        return f"{counted(self.songs_failed)} left without a row. {commonest_reason(self.failed)}"

    def summary(self) -> str:
        """One line for the person who watches the run."""
        parts = [f"{self.songs_written} of {self.songs_in_range} songs got a row in {self.seconds:.1f} s"]
        if self.songs_skipped_existing:
            parts.append(f"{self.songs_skipped_existing} had one")
        if self.songs_failed:
            parts.append(f"{self.songs_failed} failed")
        if self.answers_replayed:
            parts.append(f"{self.answers_replayed} answers kept from before")
        parts.append(dollars(self.cost_usd))
        if self.uncertain_requests:
            parts.append(f"up to {dollars(self.uncertain_usd)} more may be billed")
        return ", ".join(parts)


def why_no_song_got_a_row(reports: Iterable[Report]) -> str:
    """Why nothing came of a run; '' where a song got its row, or none was to be written.

    Songs that were not asked for (in quarantine, or nothing is known of them) are not held against a run
    over ranges that have rows.
    """
    reports = list(reports)
    failed = [failure for report in reports for failure in report.failed]
    left_out = sum(report.songs_left_out for report in reports)
    if any(report.songs_written or report.songs_found_written for report in reports) or not failed:
        return ""
    if len(failed) == left_out and any(report.songs_skipped_existing for report in reports):
        return ""
    return (
        f"No row was written: {counted(len(failed))} left without one. {commonest_reason(failed)} "
        "What was paid for is kept; change what is wrong, then run it again."
    )


def commonest_reason(failed: Sequence[FailedSong]) -> str:
    """The cause that most of these songs failed for, with the reason that one of them gives."""
    [(cause, songs)] = Counter(failure.cause for failure in failed).most_common(1)
    reason = next(failure.reason for failure in failed if failure.cause == cause)
    return f"The commonest cause is {cause} ({counted(songs)}): {reason}"


def counted(songs: int) -> str:
    """So many songs, for a sentence."""
    return "1 song" if songs == 1 else f"{songs} songs"


def dollars(usd: float | None) -> str:
    """Dollars for a person; 'cost unknown' where the model has no known price."""
    return "cost unknown" if usd is None else f"${usd:.4f}"

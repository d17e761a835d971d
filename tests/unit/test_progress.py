"""The line of progress and the tags of a run: counted numbers alone."""

import logging
from dataclasses import replace

from aboutness_assets.domain.songs import FailedSong
from aboutness_assets.money.ledger import Spending
from aboutness_assets.orchestration.progress import run_tags
from aboutness_assets.pipeline.bottleneck import Bottleneck
from aboutness_assets.pipeline.progress import Progress
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.run_budget import RunBudget
from tests.unit.test_bottleneck import FULL, IDLE, TURN


class Watched:
    """The progress of a run over three ranges, on a clock of the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.budget = RunBudget("spring", 5.0, Spending(0.0123, 0.0, 0.0), is_pretend=True)
        bottleneck = Bottleneck(
            lambda: replace(FULL, waiting=TURN, stated_requests=60),
            lambda: IDLE,
            self.budget,
            lambda: (0, 6),
            lambda: False,
            lambda: 0,
        )
        self.progress = Progress(
            3, self.budget, logging.getLogger("progress"), bottleneck, clock=lambda: self.now
        )
        self.first = self.begin("first", Report(songs_in_range=1000, songs_skipped_existing=100))

    def begin(self, key: str, report: Report) -> Report:
        self.progress.counts_itself(key)
        self.progress.begin(report)
        return report

    def write(self, rows: int, seconds: float) -> None:
        """So many rows, evenly."""
        for _ in range(int(seconds)):
            self.now += 1
            self.first.songs_written += int(rows / seconds)
            self.progress.look()


def test_no_songs_are_claimed_that_were_not_counted() -> None:
    run = Watched()
    run.write(200, 20)
    assert run.progress.line() == (
        "300 songs done (the run's songs are being counted), 0 of 3 ranges, 10.0 songs/s, ? left, "
        "limited by 60 requests per minute, 0 failed, $0.0123 of $5.0000 spent (pretend price)"
    )
    assert run_tags(run.progress.figures(), None) == {
        "progress": "300 songs, 10 songs/s",
        "spent": "$0.0000 (pretend price)",
        "left": "?, ? to go",
    }


def test_counted_songs_of_ranges_that_have_not_begun_are_left() -> None:
    run = Watched()
    run.progress.count({"first": (1000, 300), "second": (1000, 0), "third": (500, 400)})
    run.write(200, 20)
    run.first.failed.append(FailedSong(1, "refused", "No."))
    figures = run.progress.figures()
    assert (figures.songs, figures.left, figures.done) == (2500, 699 + 1000 + 100, 301)
    line = run.progress.line()
    assert line.startswith("301 of 2,500 songs done (12 %), 0 of 3 ranges, 10.0 songs/s, about 3:00 left, ")
    assert run_tags(figures, None) == {
        "progress": "12 %, 10 songs/s",
        "spent": "$0.0000 (pretend price)",
        "left": "1,799 songs, 3:00 to go, 1 failed",
    }
    assert run_tags(figures, "canceled") == {
        "progress": "canceled: 12 %, 200 rows written",
        "spent": "$0.0000 (pretend price)",
        "left": "1,799 songs, 1 failed",
    }

    # One that begins counts itself.
    run.begin("second", Report(songs_in_range=1001))
    assert run.progress.figures().songs == 2501

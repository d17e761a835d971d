"""The last line of a run says what it did, spent and left."""

from dataclasses import replace

from aboutness_assets.pipeline.last_line import last_line
from aboutness_assets.pipeline.progress import RunFigures

FIGURES = RunFigures(
    ranges=24,
    ranges_done=24,
    songs=480,
    written=437,
    found=43,
    failed=0,
    left=0,
    songs_per_second=18.8,
    is_settled=True,
    limit=None,
    usd=0.0165,
    uncertain_usd=0.0,
    is_pretend=False,
)


def test_a_run_that_is_done_says_what_it_wrote_and_spent() -> None:
    assert (
        last_line(FIGURES, "done")
        == "The run is done: 437 rows written, 24 of 24 ranges done; $0.0165 spent."
    )


def test_a_canceled_run_says_what_is_left_and_what_may_have_been_billed() -> None:
    canceled = replace(
        FIGURES, ranges_done=4, written=1200, failed=1, left=359, uncertain_usd=0.0012, is_pretend=True
    )
    assert last_line(canceled, "canceled") == (
        "The run was canceled: 1,200 rows written, 4 of 24 ranges done, 1 song failed, 359 songs of its own "
        "left; $0.0165 spent, up to $0.0012 more may have been billed (pretend price). What is paid for is "
        "kept: launch it again, and it continues."
    )


def test_what_is_not_known_is_not_claimed() -> None:
    failed = replace(FIGURES, ranges=1, written=0, left=None, usd=None)
    assert last_line(failed, "failed") == (
        "The run failed: 0 rows written, what is left is not counted; cost unknown. What is paid for is "
        "kept: launch it again, and it continues."
    )

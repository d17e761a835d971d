"""Writes to Dagster's event log from a thread of their own: order, completeness, errors."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from aboutness_assets.domain.errors import FatalError
from aboutness_assets.orchestration.event_log import EventLogWriter

RELEASE_SECONDS = 5
"""A failing test ends after this long instead of never."""


class SlowLog(logging.Logger):
    """A Dagster log that does not write anything before the test allows it."""

    def __init__(self) -> None:
        super().__init__("dagster", logging.DEBUG)
        self.released = threading.Event()
        self.written: list[str] = []
        self.fails = False
        self.line_came = threading.Event()

    def handle(self, record: logging.LogRecord) -> None:
        self.line_came.set()
        self.write(record.getMessage())

    def write(self, what: str) -> None:
        assert self.released.wait(RELEASE_SECONDS)
        if self.fails:
            raise ConnectionError("the server is away\nwith details")
        self.written.append(what)

    def event(self, what: str) -> Callable[[], None]:
        return lambda: self.write(what)


@pytest.fixture
def slow() -> Iterator[SlowLog]:
    log = SlowLog()
    yield log
    log.released.set()


async def test_the_loop_proceeds_while_the_event_log_does_not_answer(slow: SlowLog) -> None:
    proceeded: list[int] = []

    async def requests() -> None:
        for number in range(5):
            await asyncio.sleep(0)
            proceeded.append(number)

    with EventLogWriter(slow) as event_log:
        event_log.log.info("started")
        event_log.submit(slow.event("range 1 is materialized"))
        await requests()
        assert (proceeded, slow.written) == ([0, 1, 2, 3, 4], [])
        slow.released.set()
    assert slow.written == ["started", "range 1 is materialized"]


def test_everything_is_written_in_the_order_of_the_calls(slow: SlowLog) -> None:
    changing = ["first"]
    with EventLogWriter(slow) as event_log:
        event_log.log.info("%s", changing)
        changing[0] = "changed before it is written"
        event_log.submit(slow.event("second"))
        event_log.log.warning("third")
        event_log.submit(slow.event("fourth"))
        slow.released.set()
    assert slow.written == ["['first']", "second", "third", "fourth"]


def test_a_traceback_is_part_of_the_line(slow: SlowLog) -> None:
    slow.released.set()
    with EventLogWriter(slow) as event_log:
        try:
            raise ValueError("the reason")
        except ValueError:
            event_log.log.exception("It failed.")
    [line] = slow.written
    assert line.startswith("It failed.\nTraceback")
    assert line.endswith("ValueError: the reason")


def test_lines_below_the_level_of_dagsters_log_are_dropped(slow: SlowLog) -> None:
    slow.released.set()
    slow.setLevel(logging.INFO)
    with EventLogWriter(slow) as event_log:
        event_log.log.debug("a detail")
        event_log.log.info("a line")
    assert slow.written == ["a line"]


@pytest.mark.parametrize("ended", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
def test_nothing_is_lost_when_the_body_fails_or_is_canceled(
    slow: SlowLog, ended: type[BaseException]
) -> None:
    with pytest.raises(ended), EventLogWriter(slow) as event_log:
        event_log.submit(slow.event("range 1 is materialized"))
        event_log.log.info("the last line")
        slow.released.set()
        raise ended
    assert slow.written == ["range 1 is materialized", "the last line"]


def test_an_event_that_cannot_be_written_fails_the_run_at_its_end(slow: SlowLog) -> None:
    slow.fails = True
    with (
        pytest.raises(FatalError, match=r"event log \(ConnectionError: the server is away\)") as failure,
        EventLogWriter(slow) as event_log,
    ):
        event_log.submit(slow.event("range 1 is materialized"))
        slow.released.set()
    assert isinstance(failure.value.__cause__, ConnectionError)


def test_an_event_that_cannot_be_written_fails_the_run_at_the_next_event(slow: SlowLog) -> None:
    slow.fails = True
    with pytest.raises(FatalError), EventLogWriter(slow) as event_log:
        event_log.submit(slow.event("range 1 is materialized"))
        slow.released.set()
        event_log.log.info("a line that comes after it")
        assert slow.line_came.wait(RELEASE_SECONDS)
        event_log.submit(lambda: slow.written.append("range 2 is materialized"))
        pytest.fail("the run continued")
    assert slow.written == ["range 2 is materialized"]


def test_an_error_of_the_body_is_raised_and_notes_the_event_that_could_not_be_written(slow: SlowLog) -> None:
    slow.fails = True
    with pytest.raises(ValueError, match="the reason") as failure, EventLogWriter(slow) as event_log:
        event_log.submit(slow.event("range 1 is materialized"))
        slow.released.set()
        raise ValueError("the reason")
    [note] = failure.value.__notes__
    assert "ConnectionError" in note


def test_a_line_that_cannot_be_written_goes_to_stderr_and_the_run_continues(
    slow: SlowLog, capsys: pytest.CaptureFixture[str]
) -> None:
    slow.fails = True
    slow.released.set()
    with EventLogWriter(slow) as event_log:
        event_log.log.info("a %s line", "lost")
    assert "a lost line" in capsys.readouterr().err


def test_what_a_run_can_do_without_fails_nothing_and_is_complained_of_once(slow: SlowLog) -> None:
    slow.released.set()

    def away() -> None:
        raise ConnectionError("the server is away\nwith details")

    with EventLogWriter(slow) as event_log:
        for _ in range(3):
            event_log.try_submit(away, "the tags")
        event_log.submit(slow.event("range 1 is materialized"))
    assert slow.written == [
        "Dagster did not take the tags (ConnectionError: the server is away). The run continues.",
        "range 1 is materialized",
    ]


def test_what_may_be_left_out_does_not_pile_up_while_the_event_log_does_not_answer(slow: SlowLog) -> None:
    with EventLogWriter(slow) as event_log:
        for number in range(9):
            event_log.try_submit(slow.event(f"tags {number}"), "the tags", may_be_left_out=True)
        event_log.try_submit(slow.event("the last tags"), "the tags")
        slow.released.set()
    assert slow.written == ["tags 0", "the last tags"]

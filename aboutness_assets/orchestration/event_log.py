"""Writes to Dagster's event log from a thread of its own.

Dagster writes every log line and event to its Postgres and waits until it is there. On the event loop, which
paces the requests to the provider, such a write would hold up all of them.
"""

import copy
import logging
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from aboutness_assets.domain.errors import FatalError


class EventLogWriter:
    """One thread that writes to the event log in the order of the calls; a context manager.

    ``log`` takes log lines without waiting and hands them to Dagster's logger. The end of the context waits
    until everything is written, also after an error or a cancellation.

    A log line that cannot be written goes to stderr, and the run continues. An event that cannot be written
    is an error of the run: the next ``submit`` raises FatalError, or else the end of the context does.
    """

    def __init__(self, dagster_log: logging.Logger) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="event-log")
        self._failure: BaseException | None = None
        self._failure_raised = False
        self._dagster_log = dagster_log
        self._waiting: Counter[str] = Counter()
        self._complained_of: set[str] = set()
        self.log = logging.Logger("aboutness_assets", dagster_log.getEffectiveLevel())
        self.log.addHandler(_ThreadHandler(self._thread, dagster_log))

    def submit(self, write: Callable[[], None]) -> None:
        """Write an event after everything that was logged or submitted before it; does not wait for it.

        Raises FatalError when an earlier event could not be written; this one is written all the same.
        """
        self._thread.submit(write).add_done_callback(self._keep_failure)
        self._raise_failure()

    def try_submit(self, write: Callable[[], None], what: str, *, may_be_left_out: bool = False) -> None:
        """As submit, for what the run can do without: that it fails is logged once per ``what``.

        may_be_left_out: it is not written while an earlier one of the same ``what`` waits to be.
        """
        if may_be_left_out and self._waiting[what]:
            return
        self._waiting[what] += 1
        self._thread.submit(self._try, write, what)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, ended: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if ended is None:
            self._raise_failure()
        elif self._failure is not None and not self._failure_raised:
            ended.add_note(_sentence(self._failure))

    def _try(self, write: Callable[[], None], what: str) -> None:
        try:
            write()
        except Exception as failure:
            if what not in self._complained_of:
                self._complained_of.add(what)
                complaint = f"Dagster did not take {what} ({_first_line(failure)}). The run continues."
                _write(self._dagster_log.warning, complaint)
        finally:
            self._waiting[what] -= 1

    def _keep_failure(self, written: Future[None]) -> None:
        self._failure = self._failure or written.exception()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_raised = True
            raise FatalError(_sentence(self._failure)) from self._failure


class _ThreadHandler(logging.Handler):
    """Hands log records to the thread that writes them."""

    def __init__(self, thread: ThreadPoolExecutor, dagster_log: logging.Logger) -> None:
        super().__init__()
        self._thread = thread
        self._dagster_log = dagster_log

    def emit(self, record: logging.LogRecord) -> None:
        complete = copy.copy(record)
        # Formatted at once, with its traceback: the arguments may have changed when the thread gets to it.
        complete.msg = self.format(record)
        complete.args, complete.exc_info, complete.exc_text = None, None, None
        self._thread.submit(self._write, complete)

    def _write(self, record: logging.LogRecord) -> None:
        line = record.msg
        _write(lambda _: self._dagster_log.handle(record), line)


def _write(write: Callable[[str], object], line: str) -> None:
    try:
        write(line)
    except Exception as failure:
        print(f"Dagster's event log lacks this line ({failure}): {line}", file=sys.stderr)


def _first_line(failure: BaseException) -> str:
    return f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}"


def _sentence(failure: BaseException) -> str:
    return (
        f"An event could not be written to Dagster's event log ({_first_line(failure)}). "
        "The rows are written; when the Postgres of DAGSTER_PG_URL is back, run it again so that Dagster "
        "shows these partitions as materialized."
    )

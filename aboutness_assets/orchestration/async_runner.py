"""Runs a coroutine for Dagster: a cancellation lets it end in order, an error of ours becomes a sentence."""

import asyncio
import logging
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import dagster as dg

from aboutness_assets.domain.errors import AboutnessError, first_error
from aboutness_assets.domain.printable import printable_line

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_until_interrupted(work: Coroutine[Any, Any, T], log: logging.Logger) -> T:
    """Run the coroutine to its end; on SIGINT or SIGTERM cancel it and wait while it keeps what was paid for.

    Dagster's own handler would raise inside the event loop, which then cancels every task at once, including
    those that wait for answers already paid for.

    Raises DagsterExecutionInterruptedError when it was interrupted, which marks the run as canceled. An
    AboutnessError becomes a Failure with its sentence, not to be retried since a retry would meet the same
    error; ``log`` gets its traceback, with the causes, at debug level. Any other exception becomes a Failure
    that names its class and the one at its root.
    """
    # Signals reach the main thread alone, and a sensor is evaluated in another one.
    signals = _SIGNALS if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in signals}
    interrupted = False

    async def cancellable() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        for number in signals:
            loop.add_signal_handler(number, interrupt)
        return await task

    try:
        return asyncio.run(cancellable())
    except BaseException as ended:
        # Whatever ends the work after the interrupt: a group of tasks may raise their errors in its place.
        if interrupted:
            raise dg.DagsterExecutionInterruptedError from None
        error = first_error(BaseExceptionGroup("", [ended]), (AboutnessError, Exception))
        if isinstance(error, AboutnessError):
            log.debug("What led to the failure:", exc_info=ended)
            raise dg.Failure(str(error), allow_retries=False) from error
        if isinstance(error, Exception) and not isinstance(error, dg.Failure | dg.DagsterError):
            raise dg.Failure(unexpected(error)) from ended
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def unexpected(error: Exception) -> str:
    """The sentence for an exception that nobody foresaw, with its class and the class at its root."""
    root: BaseException = error
    while (cause := root.__cause__ or (None if root.__suppress_context__ else root.__context__)) is not None:
        root = cause
    because = "" if root is error else f", because of {_named(root)}"
    return (
        f"The run failed by an error that is not foreseen: {_named(error)}{because}. What was written stays "
        "and what was paid for is kept. Run it again; if it fails like this again, report its traceback."
    )


def _named(error: BaseException) -> str:
    words = printable_line(str(error))
    return f"{type(error).__name__} ({words})" if words else type(error).__name__

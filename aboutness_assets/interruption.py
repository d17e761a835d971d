"""Runs a coroutine so that Dagster's cancel lets it end in good order, and still marks the run cancelled."""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import dagster as dg

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end; on SIGINT or SIGTERM cancel it and wait for what it still has to keep.

    Dagster's own handler would raise in the midst of the event loop, which then cancels every task at once,
    those included that wait for answers already paid for.

    Raises DagsterExecutionInterruptedError when it was interrupted, which marks the run cancelled.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    interrupted = False

    async def cancellable() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, interrupt)
        return await task

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if interrupted:
            raise dg.DagsterExecutionInterruptedError from None
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

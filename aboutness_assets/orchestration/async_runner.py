"""Runs a coroutine for Dagster: a cancel lets it end in good order, a fault of ours becomes one sentence."""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import dagster as dg

from aboutness_assets.domain.errors import AboutnessError

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end; on SIGINT or SIGTERM cancel it and wait for what it still has to keep.

    Dagster's own handler would raise in the midst of the event loop, which then cancels every task at once,
    those included that wait for answers already paid for.

    Raises DagsterExecutionInterruptedError when it was interrupted, which marks the run cancelled, and
    Failure with the sentence of an AboutnessError: another try would meet the same fault.
    """
    # Signals reach the main thread alone, and a sensor is evaluated in another.
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
        # Whatever ends the work after the interrupt: a group of tasks may raise their faults in place of it.
        if interrupted:
            raise dg.DagsterExecutionInterruptedError from None
        if isinstance(ended, AboutnessError):
            raise dg.Failure(str(ended), allow_retries=False) from None
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

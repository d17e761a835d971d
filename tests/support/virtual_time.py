"""An event loop whose clock jumps ahead when every task waits for it, and stands still during a query."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aboutness_assets.database.operations.connection import Operations, Work
from aboutness_assets.limits.throttle import Throttle

T = TypeVar("T")

START = 1_000.0
"""Small enough that adding a nanosecond, as asyncio does, changes it."""

PATIENCE_SECONDS = 0.05
"""During a longer query virtual time passes as well, in case the query waits for a timer of this loop."""


class _Selector(selectors.DefaultSelector):
    """Does not wait: it advances the clock instead, except while a query runs."""

    now = START
    queries = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        real = min(PATIENCE_SECONDS, PATIENCE_SECONDS if timeout is None else timeout) if self.queries else 0
        ready = super().select(real)
        if not ready and timeout is not None and timeout > 0:
            self.now += real if self.queries else timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


class StillOperations(Operations):
    """Our own Postgres, during whose queries no virtual time passes."""

    async def query(self, work: Work[T]) -> T:
        with standing_still():
            return await super().query(work)


@contextmanager
def standing_still() -> Iterator[None]:
    """No virtual time passes within this context: something real is awaited."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    loop.selector.queries += 1
    try:
        yield
    finally:
        loop.selector.queries -= 1


def now() -> float:
    """The virtual time in seconds."""
    return asyncio.get_running_loop().time()


def run_in_virtual_time(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run main to its end, in a new loop."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main())


async def release_times(throttle: Throttle, requests: int, tokens: int = 100) -> list[float]:
    """When each of so many requests, all waiting from the start, is let go; in seconds from now."""
    began = now()

    async def released() -> float:
        await throttle.reserve(tokens)
        return now() - began

    return await asyncio.gather(*(released() for _ in range(requests)))

"""How a run ends early in good order: nothing more is asked, what is under way is awaited and used."""

import asyncio
from typing import Any, Protocol

from aboutness_assets.domain.errors import FatalError


class Request(Protocol):
    """A request that a task sends."""

    @property
    def is_under_way(self) -> bool:
        """Whether it may be at the provider."""
        ...


class Stop:
    """One for all ranges of a run; error: why it was stopped, None while it was not."""

    def __init__(self) -> None:
        self.error: FatalError | None = None
        self._watched: dict[asyncio.Task[Any], Request] = {}

    def because(self, error: FatalError) -> None:
        """Stop; the first reason counts. Requests that are not under way are cancelled."""
        if self.error is None:
            self.error = error
            for task, request in self._watched.items():
                if not request.is_under_way:
                    task.cancel()

    def watch(self, task: asyncio.Task[Any], request: Request) -> None:
        """Cancel this task, should the run be stopped while its request is not under way."""
        self._watched[task] = request

    def unwatch(self, task: asyncio.Task[Any]) -> None:
        """The task has ended."""
        del self._watched[task]

    def raise_if_stopped(self) -> None:
        """Raise the reason, if there is one."""
        if self.error is not None:
            raise self.error

    def raise_if_it_cancelled(self) -> None:
        """Raise the reason where the stop, and nobody else, cancelled what the current task waited for."""
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            self.raise_if_stopped()

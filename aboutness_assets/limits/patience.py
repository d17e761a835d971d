"""How long a run waits without one success before it gives up."""

import time
from collections.abc import Callable

from aboutness_assets.domain.errors import FatalError


class Patience:
    """One for all requests of a run, chat and embedding alike.

    give_up_seconds: from the first trouble after the last success. clock: seconds.
    """

    def __init__(self, give_up_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._give_up_seconds = give_up_seconds
        self._clock = clock
        self._since: float | None = None
        self._trouble = ""

    def succeeded(self) -> None:
        """A request was answered."""
        self._since = None

    def troubled(self, trouble: str) -> None:
        """A request has to wait; trouble: why, in half a sentence. Raises as ``check`` does."""
        self._trouble = trouble
        if self._since is None:
            self._since = self._clock()
        self.check()

    def seconds_left(self) -> float | None:
        """Until the run gives up; None while all is well."""
        if self._since is None:
            return None
        return max(0.0, self._since + self._give_up_seconds - self._clock())

    def check(self) -> None:
        """Raises FatalError where the run has waited too long."""
        if self.seconds_left() == 0:
            raise FatalError(
                f"The run gave up after {self._give_up_seconds / 60:g} minutes without one answer "
                f"(ABOUTNESS_GIVE_UP_AFTER), at last because of {self._trouble.rstrip('.')}. What is written "
                "stays and what is paid for is kept: run it again when the provider is well."
            )

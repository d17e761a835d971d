"""Stops a run, before more is paid for, when the provider is down or most of its answers are bad."""

from collections import deque

from aboutness_assets.domain.errors import FatalError

RESUME = "What is written stays and what is paid for is kept: launch the failed partitions again to go on."


class CircuitBreaker:
    """Judges a run by its latest answers.

    unavailable: so many requests in a row that were given up without an answer stop the run. bad_share: the
    largest share of the last ``window`` answers that may contain no usable entry. A 429 counts as neither: it
    is waited for.
    """

    def __init__(self, unavailable: int, bad_share: float, window: int) -> None:
        self._unavailable_allowed = unavailable
        self._bad_share = bad_share
        self._answers: deque[bool] = deque(maxlen=window)
        self._unavailable = 0

    def unavailable(self, reason: str) -> None:
        """Count a request that was given up. Raises FatalError when there were too many in a row."""
        self._unavailable += 1
        if self._unavailable >= self._unavailable_allowed:
            raise FatalError(
                f"The run was stopped because the provider is down: {self._unavailable} requests in a row "
                f"were given up, the last because: {reason} {RESUME}"
            )

    def answer(self, *, usable: bool, reason: str = "") -> None:
        """Count an answer. Raises FatalError when too many of the last ones were unusable."""
        self._unavailable = 0
        self._answers.append(usable)
        bad = self._answers.count(False)
        if len(self._answers) == self._answers.maxlen and bad > self._bad_share * len(self._answers):
            raise FatalError(
                f"The run was stopped because {bad} of the last {len(self._answers)} answers held nothing "
                f"usable, the last because: {reason or 'see the warnings above'}. Try another model or a "
                f"smaller ABOUTNESS_PACK_SIZE. {RESUME}"
            )

"""Stops a run, before more is paid for, when the provider is down or most of its answers are bad."""

from collections import deque

from aboutness_assets.domain.errors import FatalError

TRAILING_BAD = 5
"""So many bad answers, with no usable one after them, may be an endpoint that has just gone bad."""

RESUME = "What is written stays and what is paid for is kept: launch the failed partitions again to go on."


class CircuitBreaker:
    """Judges a run by its latest answers.

    unavailable: so many requests in a row that were given up without an answer stop the run. bad_share: the
    largest share of the last ``window`` answers that may contain no usable entry. A 429 counts as neither: it
    is waited for. verdict: what is said of bad answers. advice: what may help.
    """

    def __init__(
        self,
        unavailable: int,
        bad_share: float,
        window: int,
        *,
        verdict: str = "answers held nothing usable",
        advice: str = "Try another model or a smaller ABOUTNESS_PACK_SIZE.",
    ) -> None:
        self._verdict = verdict
        self._advice = advice
        self._unavailable_allowed = unavailable
        self._bad_share = bad_share
        self._answers: deque[bool] = deque(maxlen=window)
        self._unavailable = 0
        self._reason = ""

    @property
    def is_sound(self) -> bool:
        """Whether the latest answers speak for the endpoint, so that a bad one was its own song's fault."""
        bad = self._answers.count(False)
        latest = list(self._answers)[-TRAILING_BAD:]
        return any(latest) and bad <= self._bad_share * len(self._answers)

    def blame(self) -> FatalError:
        """Why a run stops whose answers are no better for a harmless song."""
        return FatalError(
            f"The run was stopped because {self._answers.count(False)} of its last {len(self._answers)} "
            f"{self._verdict}, the last because: {self._reason} A harmless song fared no better, so no "
            f"song is blamed. {self._advice} {RESUME}"
        )

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
        if not usable:
            self._reason = reason or "see the warnings above."
        bad = self._answers.count(False)
        if len(self._answers) == self._answers.maxlen and bad > self._bad_share * len(self._answers):
            raise FatalError(
                f"The run was stopped because {bad} of the last {len(self._answers)} {self._verdict}, "
                f"the last because: {self._reason} {self._advice} {RESUME}"
            )

"""How often a request that brought no answer is sent again, and when."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aboutness_assets.limits.headers import retry_after


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request that brought no answer is sent again.

    attempts: in all, those that met a 429 not counted. backoff_seconds: upper bound of the wait before the
    second attempt; it doubles with each one more, up to max_backoff_seconds. max_wait_seconds: the longest
    wait that a provider may ask for (a header that says days is a mistake or an attack). flex_attempts: how
    often a request may find no capacity in the tier flex; with the defaults that takes about an hour. jitter:
    draws a wait between its two arguments.
    """

    attempts: int = 5
    backoff_seconds: float = 1.0
    max_backoff_seconds: float = 120.0
    max_wait_seconds: float = 600.0
    flex_attempts: int = 60
    jitter: Callable[[float, float], float] = random.uniform

    def wait(self, failures: int, headers: Mapping[str, str]) -> float:
        """Seconds before the next attempt: as the provider says, else doubling, with full jitter."""
        said = retry_after(headers)
        if said is not None:
            return min(said, self.max_wait_seconds) + self.jitter(0, self.backoff_seconds)
        longest = min(self.backoff_seconds * 2 ** (failures - 1), self.max_backoff_seconds)
        return self.jitter(0, longest)

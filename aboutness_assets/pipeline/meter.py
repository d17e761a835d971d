"""What a run counts for those who watch it from outside. The default counts nothing."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

RequestOutcome: TypeAlias = Literal["billed", "refused", "rate_limited", "uncertain"]
SongOutcome: TypeAlias = Literal["written", "already_there", "failed"]
WaitCause: TypeAlias = Literal["rate_limited", "pace", "budget", "database"]
"""rate_limited: the pause after a 429. pace: the turn within the limit. budget: dollars that are reserved.
database: a writer's turn, and the rest of the service's database."""


class Meter(Protocol):
    """Hears of everything that is worth counting; must return at once and raise nothing."""

    def request(self, kind: str, model: str, outcome: RequestOutcome, seconds: float) -> None:
        """An HTTP request to the provider ended after so many seconds."""
        ...

    def spent(
        self,
        kind: str,
        model: str,
        *,
        prompt_tokens: int,
        cached_tokens: int,
        completion_tokens: int,
        usd: float | None,
    ) -> None:
        """A billed request: what its usage states (cached ones are prompt_tokens too), and its dollars."""
        ...

    def songs(self, outcome: SongOutcome, number: int) -> None:
        """So many songs got a row, had one, or failed."""
        ...

    def waited(self, cause: WaitCause, seconds: float) -> None:
        """One request, or one transaction of rows, waited."""
        ...

    def inserted(self, seconds: float) -> None:
        """A transaction of rows took so long."""
        ...


class NoMeter:
    """Counts nothing."""

    def request(self, kind: str, model: str, outcome: RequestOutcome, seconds: float) -> None:
        """See Meter."""

    def spent(
        self,
        kind: str,
        model: str,
        *,
        prompt_tokens: int,
        cached_tokens: int,
        completion_tokens: int,
        usd: float | None,
    ) -> None:
        """See Meter."""

    def songs(self, outcome: SongOutcome, number: int) -> None:
        """See Meter."""

    def waited(self, cause: WaitCause, seconds: float) -> None:
        """See Meter."""

    def inserted(self, seconds: float) -> None:
        """See Meter."""

"""What is told to, and asked of, the ledger: one entry per HTTP request that may cost money.

An entry is opened before its request is sent and reserves what that can cost at most; it is closed as
billed, refused or uncertain. Ledger is what filling needs of a store; database/operations/ledger.py fulfills
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from aboutness_assets.domain.chat import Usage

AttemptKind: TypeAlias = Literal["chat", "embedding"]


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request can cost at most, in dollars; None where the model's price is unknown.

    max_completion_tokens: of the answer that max_usd counts with.
    """

    kind: AttemptKind
    model: str
    tier: str
    max_usd: float | None
    max_completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended.

    usd: dollars of a billed one, None where the price is unknown. usage: as the provider stated it.
    """

    state: Literal["billed", "refused", "uncertain"]
    usage: Usage | None = None
    usd: float | None = None
    tier: str | None = None


REFUSED = Outcome("refused")
UNCERTAIN = Outcome("uncertain")


@dataclass(frozen=True, slots=True)
class Spending:
    """Dollars of one budget: billed, possibly billed, and reserved for what is under way."""

    billed_usd: float
    uncertain_usd: float
    reserved_usd: float

    @property
    def committed_usd(self) -> float:
        """What a cap counts."""
        return self.billed_usd + self.uncertain_usd + self.reserved_usd


NOTHING_SPENT = Spending(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over attempts: requests, tokens and dollars billed, requests and dollars that may be billed.

    usd: None where a billed request's price is unknown. uncertain_usd: at most.
    """

    embedding_requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    embedding_tokens: int
    usd: float | None
    uncertain_requests: int
    uncertain_usd: float


class Ledger(Protocol):
    """The ledger of one run over one range."""

    async def open(
        self, charge: Charge, *, request_id: int | None, releases: Sequence[int] = ()
    ) -> int | None:
        """Enter a request that is about to be sent; returns its attempt_id, None where the cap forbids it.

        request_id: of the chat request that is sent again. releases: chat requests whose promised dollars
        this request spends, as it embeds their texts.
        """
        ...

    async def close(self, attempt_id: int, outcome: Outcome) -> Spending:
        """Close an entry with what is known; returns the sums of its budget."""
        ...

    async def report(self) -> Totals:
        """Sums over every closed entry of the range that no materialization has counted, and count them."""
        ...

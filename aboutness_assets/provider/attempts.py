"""What the sender tells of every HTTP request, so that whoever pays can account for each of them."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from aboutness_assets.domain.chat import Usage

Loss: TypeAlias = Literal["rate_limited", "refused", "uncertain"]
"""How an HTTP request ended without a usable answer.

rate_limited, refused: the provider said no and bills nothing. uncertain: it may have worked and billed (a
time-out, a broken connection, a body that cannot be read, a gateway's error).
"""


class Attempts(Protocol):
    """Hears of the HTTP requests of one call, resends included, one after the other.

    Each ``sending`` is followed by exactly one ``answered`` or ``lost``, unless the call is cancelled.
    """

    async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
        """Await this before a request leaves; what it raises keeps the request from leaving.

        body_bytes: size of the JSON document, an upper bound of its prompt tokens. max_completion_tokens: the
        limit that the request itself sets for its answer; None where it sets none.
        """
        ...

    async def answered(self, body: bytes, usage: Usage | None, service_tier: str | None) -> None:
        """An answer came; usage is None where it does not say what was used."""
        ...

    async def lost(self, loss: Loss, usage: Usage | None = None, service_tier: str | None = None) -> None:
        """The request brought no answer; usage: what it was billed all the same, where its body says so."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """Attempts of a harmless request: its answer is nobody's, though it is billed."""

    attempts: Attempts

    async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
        """See Attempts."""
        await self.attempts.sending(body_bytes=body_bytes, max_completion_tokens=max_completion_tokens)

    async def answered(self, body: bytes, usage: Usage | None, service_tier: str | None) -> None:
        """See Attempts: the answer is not kept."""
        await self.attempts.lost("uncertain", usage, service_tier)

    async def lost(self, loss: Loss, usage: Usage | None = None, service_tier: str | None = None) -> None:
        """See Attempts."""
        await self.attempts.lost(loss, usage, service_tier)

"""One request at a time, as long as its refusal would be the refusal of all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aboutness_assets.domain.chat import Usage
from aboutness_assets.provider.attempts import Attempts, Loss


class Gate:
    """Lets one request through at a time, until it is seen to meet something else than a refusal.

    patience_seconds: a request without a reply for so long is worked on, as refusals come at once.
    """

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        self.lock = asyncio.Lock()
        self.is_open = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """Wait for the request before this one, unless the gate is open."""
        turn = Turn(self)
        if not self.is_open:
            await self.lock.acquire()
            turn.holds_lock = True
            if self.is_open:
                turn.let_others_go()
        try:
            yield turn
        finally:
            turn.end()


class Turn:
    """The turn of one request."""

    def __init__(self, gate: Gate) -> None:
        self.holds_lock = False
        self._gate = gate
        self._opening: asyncio.Handle | None = None

    def sent(self) -> None:
        """Its request has left."""
        self._open_after(self._gate.patience_seconds)

    def lost(self) -> None:
        """Its request brought no answer: unless ``refused`` follows at once, it is no matter of form."""
        self._open_after(0)

    def let_others_go(self) -> None:
        """Open the gate."""
        self._gate.is_open = True
        self._release()

    def refused(self) -> None:
        """Close the gate for those that come: what this request met may be about its form."""
        self._cancel_opening()
        self._gate.is_open = False

    def end(self) -> None:
        """Let the next one have its turn."""
        self._cancel_opening()
        self._release()

    def _open_after(self, seconds: float) -> None:
        self._cancel_opening()
        self._opening = asyncio.get_running_loop().call_later(seconds, self.let_others_go)

    def _cancel_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()

    def _release(self) -> None:
        if self.holds_lock:
            self.holds_lock = False
            self._gate.lock.release()


class TurnAttempts:
    """Attempts of a request, of which its turn hears too."""

    def __init__(self, attempts: Attempts, turn: Turn) -> None:
        self._attempts = attempts
        self._turn = turn

    async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
        """See Attempts."""
        await self._attempts.sending(body_bytes=body_bytes, max_completion_tokens=max_completion_tokens)
        self._turn.sent()

    async def answered(self, body: bytes, usage: Usage | None, service_tier: str | None) -> None:
        """See Attempts."""
        await self._attempts.answered(body, usage, service_tier)

    async def lost(self, loss: Loss, usage: Usage | None = None, service_tier: str | None = None) -> None:
        """See Attempts."""
        await self._attempts.lost(loss, usage, service_tier)
        self._turn.lost()

"""Paid requests: intend, send, keep, settle. Each is in journal and ledger before it leaves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aboutness_assets.database.operations.journal import Journal
from aboutness_assets.domain.errors import FatalError, ProviderUnavailable, RequestRefused
from aboutness_assets.domain.songs import RequestKind
from aboutness_assets.generation.answer import read_texts
from aboutness_assets.generation.generator import Answered
from aboutness_assets.generation.packs import Pack
from aboutness_assets.generation.prompt import (
    HARMLESS_PACK,
    HARMLESS_REQUEST,
    PROMPT_HASH,
    chat_messages,
    estimated_tokens,
    max_completion_tokens,
    response_format,
)
from aboutness_assets.money.ledger import Charge, Outcome, Spending
from aboutness_assets.pipeline.bookings import Accounts, Booking
from aboutness_assets.provider.chat import ChatClient


class PaidRequests:
    """Asks the chat model for packs of one range, and keeps every answer before it is read."""

    def __init__(
        self,
        client: ChatClient,
        journal: Journal,
        accounts: Accounts,
        *,
        grace_seconds: float,
    ) -> None:
        self._client = client
        self._journal = journal
        self._accounts = accounts
        self._grace_seconds = grace_seconds

    async def ask(self, pack: Pack, kind: RequestKind) -> Answered:
        """One chat request, sent as often as it takes.

        Where an error stops the run, what is under way is still awaited; where a person cancels it, for
        ``grace_seconds``. What comes in is kept in either case.
        Raises RequestRefused or ProviderUnavailable for this request, FatalError for all.
        """
        stop = self._accounts.stop
        account = _ChatAccount(self._client, self._journal, self._accounts, pack, kind)
        booking = Booking(self._accounts, account)
        request = asyncio.create_task(
            self._client.chat(
                chat_messages(pack),
                response_format(pack),
                max_completion_tokens(pack),
                estimated_tokens(pack),
                booking,
            )
        )
        stop.watch(request, booking)
        try:
            chat = await asyncio.shield(request)
        except asyncio.CancelledError:
            booking.is_given_up = True
            if booking.is_under_way:
                await asyncio.wait({request}, timeout=self._grace_seconds)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            await booking.abandon()
            await account.give_up(may_be_billed=booking.may_be_billed)
            stop.raise_if_it_cancelled()
            raise
        except (RequestRefused, ProviderUnavailable, FatalError) as error:
            if isinstance(error, FatalError):
                stop.because(error)
            await account.give_up(may_be_billed=booking.may_be_billed)
            raise
        finally:
            stop.unwatch(request)
        return Answered(account.request_id, chat)

    async def answers_harmless(self) -> bool:
        """Whether a song that nobody refuses gets usable texts.

        Raises FatalError where no request may be sent.
        """
        booking = Booking(self._accounts, _TrialAccount(self._client.model, self._accounts))
        try:
            chat = await self._client.chat(
                *HARMLESS_REQUEST,
                max_completion_tokens(HARMLESS_PACK),
                estimated_tokens(HARMLESS_PACK),
                booking,
            )
        except (RequestRefused, ProviderUnavailable):
            return False
        return bool(read_texts(chat, HARMLESS_PACK).written)


@dataclass(frozen=True, slots=True)
class _TrialAccount:
    """Books a request whose answer is no song's: in the ledger alone."""

    model: str
    accounts: Accounts

    def charge(self, body_bytes: int, max_completion_tokens: int | None) -> Charge:
        """See bookings.Account."""
        return _chat_charge(self.accounts, self.model, body_bytes, max_completion_tokens)

    async def open(self, charge: Charge) -> int | None:
        """See bookings.Account."""
        return await self.accounts.ledger.open(charge, request_id=None)

    async def close(self, attempt_id: int, outcome: Outcome, body: bytes) -> Spending:
        """See bookings.Account."""
        return await self.accounts.ledger.close(attempt_id, outcome)


def _chat_charge(
    accounts: Accounts, model: str, body_bytes: int, max_completion_tokens: int | None
) -> Charge:
    """What a chat request can cost at most."""
    limit = accounts.budget.completion_bound(max_completion_tokens)
    return accounts.tariff.chat_charge(model, body_bytes=body_bytes, max_completion_tokens=limit)


@dataclass(slots=True)
class _ChatAccount:
    """Books one chat request: its first sending with its intent, its answer with its bill."""

    client: ChatClient
    journal: Journal
    accounts: Accounts
    pack: Pack
    kind: RequestKind
    request_id: int = 0
    is_answered: bool = False

    def charge(self, body_bytes: int, max_completion_tokens: int | None) -> Charge:
        """See bookings.Account."""
        return _chat_charge(self.accounts, self.client.model, body_bytes, max_completion_tokens)

    async def open(self, charge: Charge) -> int | None:
        """See bookings.Account."""
        if self.request_id:
            return await self.accounts.ledger.open(charge, request_id=self.request_id)
        songs = self.pack.songs
        promised = self.accounts.tariff.promised_usd(len(songs))
        intent = await self.journal.intend(
            songs,
            self.kind,
            charge,
            prompt_hash=PROMPT_HASH,
            reasoning_effort=self.client.reasoning_effort,
            promised_usd=promised,
        )
        if intent is None:
            return None
        self.request_id = intent.request_id
        if self.kind == "pack":
            self.accounts.report.batch_requests += 1
        else:
            self.accounts.report.single_song_requests += 1
        return intent.attempt_id

    async def close(self, attempt_id: int, outcome: Outcome, body: bytes) -> Spending:
        """See bookings.Account."""
        if not body:
            return await self.accounts.ledger.close(attempt_id, outcome)
        spending = await self.journal.answered(self.request_id, attempt_id, body, outcome)
        self.is_answered = True
        return spending

    async def give_up(self, *, may_be_billed: bool) -> None:
        """Settle a request that was sent and that nobody waits for any more."""
        if self.request_id and not self.is_answered:
            await self.journal.unanswered(self.request_id, maybe_billed=may_be_billed)

"""Sends requests of one kind until each has its answer: time-outs, 429s. The one layer that retries."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import orjson

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import ProviderUnavailable, RequestRefused
from aboutness_assets.limits.headers import rate_limit_wait
from aboutness_assets.limits.patience import Patience
from aboutness_assets.limits.throttle import Reservation, Throttle
from aboutness_assets.provider.attempts import Attempts, Trial
from aboutness_assets.provider.form import FormRefused
from aboutness_assets.provider.harmless import Harmless
from aboutness_assets.provider.load import Load, load_of
from aboutness_assets.provider.provider_error import ProviderError
from aboutness_assets.provider.reading import Failure, read_reply
from aboutness_assets.provider.refusals import (
    BadRequest,
    is_about_form,
    may_be_billed,
    meaning_of,
    names_cause,
    waiting_helps,
)
from aboutness_assets.provider.retries import Retries
from aboutness_assets.provider.services import Service
from aboutness_assets.provider.transport import Reply, Transport
from aboutness_assets.provider.wire import read_usage

LOOK_SECONDS = 60.0
"""How long a request waits for its turn before it looks whether the run has lost its patience."""


class Answer(Protocol):
    """What every answer tells of itself."""

    @property
    def usage(self) -> Usage | None:
        """Tokens, None where it does not say."""
        ...

    @property
    def service_tier(self) -> str | None:
        """The tier that really served it, None where it does not say."""
        ...


T = TypeVar("T", bound=Answer)


class _NoCapacity(Exception):
    """The tier that was asked for has no capacity for a request now."""

    def __init__(self, trouble: str, headers: Mapping[str, str]) -> None:
        super().__init__(trouble)
        self.headers = headers


class Sender:
    """Requests of one service, within its throttle.

    harmless: what to try where a refusal may be about the key or the model; without it such a refusal counts
    for all requests unless others pass. patience: shared by all senders of a run. tier_refusals: how often a
    request was refused so far because its tier had no capacity.
    """

    def __init__(
        self,
        service: Service,
        transport: Transport,
        throttle: Throttle,
        log: logging.Logger,
        retries: Retries | None = None,
        *,
        harmless: Harmless | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.service = service
        self._transport = transport
        self._throttle = throttle
        self._log = log
        self._retries = retries or Retries()
        self._harmless = harmless
        self._patience = patience or Patience(math.inf)
        self._trying = asyncio.Lock()
        self._answers = 0
        self._rate_limit = "another run met it"
        self._backing_off: dict[object, tuple[float, str]] = {}
        self._at_provider = 0
        self.tier_refusals = 0

    @property
    def load(self) -> Load:
        """Where this service's requests are now."""
        troubles = [trouble for _, trouble in sorted(self._backing_off.values())]
        return load_of(self._throttle, self._at_provider, troubles)

    async def send(
        self,
        body: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        read: Callable[[bytes], T],
        attempts: Attempts,
        *,
        may_refuse_form: bool = False,
        after: FormRefused | None = None,
    ) -> T:
        """The answer to a request, sent as often as it takes; ``attempts`` hears of each sending.

        estimated_tokens: (prompt, completion). read: makes an answer of a body, or raises UnparsableAnswer.
        may_refuse_form: raise FormRefused where a refusal may be about the request's form. after: what the
        same request met in another form just now.
        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        refusals = 0
        while True:
            try:
                async with self._throttle.slot():
                    return await self._send_in_slot(
                        body, estimated_tokens, read, attempts, may_refuse_form=may_refuse_form, after=after
                    )
            except _NoCapacity as no_capacity:
                trouble, headers = str(no_capacity), no_capacity.headers
            # Neither a rate limit nor an outage: others go on, in this request's slot too.
            self.tier_refusals += 1
            refusals += 1
            await self._back_off(refusals, self._retries.flex_attempts, trouble, headers)

    async def send_harmless(
        self,
        body: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        read: Callable[[bytes], T],
        attempts: Attempts,
    ) -> T | None:
        """The answer to a harmless request of the form of ``body``; None where there is no such request.

        Its answer is booked and kept nowhere. Raises FormRefused, ProviderUnavailable, FatalError.
        """
        if self._harmless is None:
            return None
        return await self.send(
            self._harmless(body), estimated_tokens, read, Trial(attempts), may_refuse_form=True
        )

    @property
    def waits_for(self) -> str | None:
        """Why nothing is sent now and until when, as a sentence; None where requests are sent."""
        waiting, kind = self._throttle.waiting, self.service.kind
        if waiting is not None:
            until = _clock_time(waiting.seconds)
            if waiting.paused:
                return (
                    f"All {kind} requests wait until {until}: the provider's rate limit is reached "
                    f"({self._rate_limit})."
                )
            return (
                f"The next {kind} request waits for its turn until {until}: "
                f"{waiting.requests_per_minute:.3g} a minute may be sent now."
            )
        if self._backing_off and len(self._backing_off) >= self._throttle.in_flight:
            at, trouble = min(self._backing_off.values())
            return (
                f"All {len(self._backing_off)} {kind} requests wait to be sent again, the next "
                f"until {_clock_time(at - time.monotonic())}, because of {trouble}."
            )
        return None

    async def _send_in_slot(
        self,
        body: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        read: Callable[[bytes], T],
        attempts: Attempts,
        *,
        is_trial: bool = False,
        may_refuse_form: bool = False,
        after: FormRefused | None = None,
    ) -> T:
        """See send. Raises _NoCapacity too. is_trial: of a harmless request, after which none is tried."""
        failures = 0
        if after is not None and after.server_errors:
            failures = after.server_errors
            await self._back_off(failures, self._retries.attempts, after.trouble, {})
        document = orjson.dumps(body)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        while True:
            reservation = await self._reserve(estimated_tokens)
            await attempts.sending(body_bytes=len(document), max_completion_tokens=limit)
            answers_before = self._answers
            self._at_provider += 1
            try:
                reply = await self._transport.post(self.service.path, document)
            finally:
                self._at_provider -= 1
            outcome = read_reply(reply, read, self._transport.api_key)
            if not isinstance(outcome, Failure):
                self._answers += 1
                self._patience.succeeded()
                self._settle(outcome.usage, limit, reply, reservation)
                await attempts.answered(reply.body, outcome.usage, outcome.service_tier)
                return outcome
            error = outcome.error
            if error is not None and outcome.status == 429 and waiting_helps(error, reply.headers):
                if error.is_no_capacity and "service_tier" in body:
                    await attempts.lost("refused")
                    raise _NoCapacity(
                        f"no capacity in the tier {body['service_tier']!r} (HTTP 429: {error.message})",
                        reply.headers,
                    )
                await attempts.lost("rate_limited")
                await self._pause(reply, error, reservation)
                continue
            usage, tier = read_usage(reply.body) if 200 <= reply.status < 300 else (None, None)
            await attempts.lost("uncertain" if may_be_billed(reply, error) else "refused", usage, tier)
            if outcome.trouble is not None or error is None:
                failures += 1
                trouble = outcome.trouble or f"HTTP {reply.status}"
                if may_refuse_form and error is not None and outcome.status in (500, 501):
                    unavailable = ProviderUnavailable(f"The provider fails at this request ({trouble}).")
                    raise FormRefused(unavailable, error.text, server_errors=failures, trouble=trouble)
                await self._back_off(failures, self._retries.attempts, trouble, reply.headers)
                continue
            meaning = meaning_of(outcome.status, error, self.service, self._transport.host)
            if may_refuse_form and is_about_form(outcome.status, meaning):
                raise FormRefused(meaning, error.text, names_cause=names_cause(outcome.status, error))
            if (
                isinstance(meaning, BadRequest)
                and meaning.if_global is not None
                and not is_trial
                and not await self._others_pass(
                    meaning, answers_before, body, estimated_tokens, read, attempts
                )
            ):
                raise meaning.if_global
            raise meaning

    async def _others_pass(
        self,
        refusal: BadRequest,
        answers_before: int,
        body: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        read: Callable[[bytes], T],
        attempts: Attempts,
    ) -> bool:
        """Whether another request was answered since this one was sent, or a harmless one is now."""
        async with self._trying:
            if self._answers > answers_before:
                return True
            if self._harmless is None or (refusal.status == 401 and not self._answers):
                return False
            try:
                await self._send_in_slot(
                    self._harmless(body), estimated_tokens, read, Trial(attempts), is_trial=True
                )
            except RequestRefused:
                return False
            return True

    async def _reserve(self, estimated_tokens: tuple[int, int]) -> Reservation:
        """Wait until a request may leave. Raises FatalError when the run's patience is at its end."""
        while True:
            left = self._patience.seconds_left()
            try:
                async with asyncio.timeout(LOOK_SECONDS if left is None else min(left, LOOK_SECONDS)):
                    return await self._throttle.reserve(*estimated_tokens)
            except TimeoutError:
                self._patience.check()

    def _settle(self, usage: Usage | None, limit: int | None, reply: Reply, reservation: Reservation) -> None:
        self._throttle.observe(reply.headers, reservation)
        if usage is not None and usage.prompt_tokens:
            # OpenAI counts the larger of the prompt and the limit of the answer; others what was used.
            prompt = usage.prompt_tokens
            counted = prompt if reservation.counts_answer else max(prompt, limit or 0)
            self._throttle.settle(reservation, counted, usage.completion_tokens)

    async def _pause(self, reply: Reply, error: ProviderError, reservation: Reservation) -> None:
        self._rate_limit = f"HTTP {reply.status}: {error.message}"
        self._patience.troubled(f"a rate limit ({self._rate_limit})")
        headers = dict(reply.headers)
        if rate_limit_wait(headers) is None and error.wait is not None:
            headers["retry-after"] = str(error.wait)
        pause, asked = await self._throttle.rate_limited(headers, reservation)
        if pause.begins:
            self._log.warning(
                "The provider's rate limit is reached (%s): all %s requests wait %.3g s%s.",
                self._rate_limit,
                self.service.kind,
                pause.seconds,
                f", although it asked for {asked:.0f} s" if asked else "",
            )

    async def _back_off(self, failures: int, attempts: int, trouble: str, headers: Mapping[str, str]) -> None:
        """Wait before the next attempt. Raises ProviderUnavailable when there is none left."""
        kind = self.service.kind
        self._patience.troubled(trouble)
        if failures >= attempts:
            raise ProviderUnavailable(
                f"One {kind} request failed {failures} times in a row, at last with {trouble.rstrip('.')}. "
                "Run it again when the provider is well."
            )
        wait = self._retries.wait(failures, headers)
        self._log.info(
            "One %s request met %s. It is sent again in %.3g s, %d times more at most.",
            *(kind, trouble, wait, attempts - failures),
        )
        this = object()
        self._backing_off[this] = (time.monotonic() + wait, trouble)
        try:
            left = self._patience.seconds_left()
            await asyncio.sleep(wait if left is None else min(wait, left))
        finally:
            del self._backing_off[this]
        self._patience.check()


def _clock_time(seconds: float) -> str:
    """The time of day in so many seconds."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%H:%M:%S} UTC"

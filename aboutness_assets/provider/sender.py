"""Sends requests of one kind until each has its answer: time-outs, 429s. The one layer that retries."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import orjson

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import ProviderUnavailable, UnparsableAnswer
from aboutness_assets.limits.headers import retry_after
from aboutness_assets.limits.throttle import Reservation, Throttle
from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.refusals import ProviderError, may_be_billed, meaning_of
from aboutness_assets.provider.services import Service
from aboutness_assets.provider.transport import Reply, Transport


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


class _NoCapacity(Exception):
    """The tier that was asked for has no capacity for a request now."""

    def __init__(self, trouble: str, headers: Mapping[str, str]) -> None:
        super().__init__(trouble)
        self.headers = headers


class Sender:
    """Requests of one service, within its throttle.

    tier_refusals: how often a request was refused so far because its tier had no capacity.
    """

    def __init__(
        self,
        service: Service,
        transport: Transport,
        throttle: Throttle,
        log: logging.Logger,
        retries: Retries | None = None,
    ) -> None:
        self.service = service
        self._transport = transport
        self._throttle = throttle
        self._log = log
        self._retries = retries or Retries()
        self.tier_refusals = 0

    async def send(
        self,
        body: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        read: Callable[[bytes], T],
        attempts: Attempts,
    ) -> T:
        """The answer to a request, sent as often as it takes; ``attempts`` hears of each sending.

        estimated_tokens: (prompt, completion). read: makes an answer of a body, or raises UnparsableAnswer.
        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        refusals = 0
        while True:
            try:
                async with self._throttle.slot():
                    return await self._send_in_slot(body, estimated_tokens, read, attempts)
            except _NoCapacity as no_capacity:
                trouble, headers = str(no_capacity), no_capacity.headers
            # Neither a rate limit nor an outage: others go on, in this request's slot too.
            self.tier_refusals += 1
            refusals += 1
            await self._back_off(refusals, self._retries.flex_attempts, trouble, headers)

    async def _send_in_slot(
        self,
        body: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        read: Callable[[bytes], T],
        attempts: Attempts,
    ) -> T:
        """See send. Raises _NoCapacity too."""
        failures = 0
        document = orjson.dumps(body)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        while True:
            reservation = await self._throttle.reserve(*estimated_tokens)
            await attempts.sending(body_bytes=len(document), max_completion_tokens=limit)
            reply = await self._transport.post(self.service.path, document)
            error = self._error_of(reply) if reply.status >= 400 else None
            if reply.status == 429 and error is not None and not error.is_beyond_waiting:
                if error.is_no_capacity and "service_tier" in body:
                    await attempts.lost("refused")
                    raise _NoCapacity(
                        f"no capacity in the tier {body['service_tier']!r} (HTTP 429: {error.message})",
                        reply.headers,
                    )
                await attempts.lost("rate_limited")
                await self._pause(reply, reservation)
                continue
            trouble = reply.trouble
            if trouble is None and 200 <= reply.status < 300:
                try:
                    answer = read(reply.body)
                except UnparsableAnswer as unreadable:
                    trouble = f"HTTP {reply.status} with a body that is not an answer ({unreadable})"
                else:
                    self._settle(answer.usage, limit, reply, reservation)
                    await attempts.answered(reply.body, answer.usage, answer.service_tier)
                    return answer
            elif error is not None and (reply.status in (408, 409) or reply.status >= 500):
                trouble = f"HTTP {reply.status}: {error.message}"
            await attempts.lost("uncertain" if may_be_billed(reply, error) else "refused")
            if trouble is None:
                error = error or self._error_of(reply)
                raise meaning_of(reply, error, self.service, self._transport.host)
            failures += 1
            await self._back_off(failures, self._retries.attempts, trouble, reply.headers)

    def _error_of(self, reply: Reply) -> ProviderError:
        return ProviderError.read(reply.body, self._transport.api_key)

    def _settle(self, usage: Usage | None, limit: int | None, reply: Reply, reservation: Reservation) -> None:
        self._throttle.observe(reply.headers, reservation)
        if usage is not None and usage.prompt_tokens:
            # OpenAI counts the larger of the prompt and the limit of the answer; others what was used.
            prompt = usage.prompt_tokens
            counted = prompt if reservation.counts_answer else max(prompt, limit or 0)
            self._throttle.settle(reservation, counted, usage.completion_tokens)

    async def _pause(self, reply: Reply, reservation: Reservation) -> None:
        pause, asked = await self._throttle.rate_limited(reply.headers, reservation)
        if pause.begins:
            self._log.warning(
                "The provider's rate limit is reached (HTTP 429): all %s requests wait %.3g s%s.",
                self.service.kind,
                pause.seconds,
                f", although it asked for {asked:.0f} s" if asked else "",
            )

    async def _back_off(self, failures: int, attempts: int, trouble: str, headers: Mapping[str, str]) -> None:
        """Wait before the next attempt. Raises ProviderUnavailable when there is none left."""
        kind = self.service.kind
        if failures >= attempts:
            raise ProviderUnavailable(
                f"One {kind} request failed {failures} times in a row, at last with {trouble.rstrip('.')}. "
                "Run it again when the provider is well."
            )
        wait = self._wait(failures, headers)
        self._log.info(
            "One %s request met %s. It is sent again in %.3g s, %d times more at most.",
            *(kind, trouble, wait, attempts - failures),
        )
        await asyncio.sleep(wait)

    def _wait(self, failures: int, headers: Mapping[str, str]) -> float:
        """Seconds before the next attempt: as the provider says, else doubling, with full jitter."""
        retries = self._retries
        said = retry_after(headers)
        if said is not None:
            return min(said, retries.max_wait_seconds) + retries.jitter(0, retries.backoff_seconds)
        longest = min(retries.backoff_seconds * 2 ** (failures - 1), retries.max_backoff_seconds)
        return retries.jitter(0, longest)

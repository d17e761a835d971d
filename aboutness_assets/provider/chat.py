"""Chat requests: the body that is sent, and the answer that comes of it."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.capabilities import Capabilities
from aboutness_assets.provider.chat_form import LENGTH_LIMITS, chat_body, sends_effort
from aboutness_assets.provider.form import Form, FormRefused
from aboutness_assets.provider.refusals import BadRequest
from aboutness_assets.provider.sender import Sender
from aboutness_assets.provider.wire import read_chat_body


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What every chat request asks for; '' is not sent. service_tier: as the API names it, ``flex`` say."""

    reasoning_effort: str
    service_tier: str = ""


REASONING_TOKENS = 8_192
"""Added to the limit of an answer where the model may think first: thoughts count as completion tokens."""

LONGEST_LIMIT_FACTOR = 16

_SERVICE_TIER = re.compile(r"service[_ ]?tier|\bflex\b", re.IGNORECASE)


class ChatClient:
    """Asks one chat model.

    capabilities: of ``chat_parts``. Answers that are cut by their limit double the limit of those to come, up
    to LONGEST_LIMIT_FACTOR times.
    """

    def __init__(
        self,
        sender: Sender,
        capabilities: Capabilities,
        options: ChatOptions,
        log: logging.Logger,
    ) -> None:
        self._sender = sender
        self._capabilities = capabilities
        self._options = options
        self._log = log
        self._limit_factor = 1

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self._sender.service.model

    @property
    def reasoning_effort(self) -> str:
        """The effort that is asked for; '' where none is sent."""
        return self._options.reasoning_effort

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any],
        max_completion_tokens: int,
        estimated_tokens: tuple[int, int],
        attempts: Attempts,
    ) -> ChatAnswer:
        """The answer to a chat request; ``attempts`` gets its raw body.

        messages: a system message, then a user message. estimated_tokens: (prompt, completion). What the
        endpoint refuses of response_format, reasoning_effort, the limit and the system message is not sent.
        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        prompt, completion = estimated_tokens

        def in_form(form: Form) -> tuple[dict[str, Any], tuple[int, int], int]:
            """The body, its tokens as the provider may count them, and the factor of its limit."""
            factor = self._limit_factor
            effort = self._options.reasoning_effort
            thoughts = 0 if effort == "none" and sends_effort(form) else REASONING_TOKENS
            limit = factor * (max_completion_tokens + thoughts)
            body = chat_body(form, self.model, messages, response_format, effort, limit)
            if self._options.service_tier:
                body["service_tier"] = self._options.service_tier
            # Providers that do not count answers count the larger of the prompt and the limit.
            is_limited = any(name in body for name in LENGTH_LIMITS)
            return body, (max(prompt, limit) if is_limited else prompt, completion), factor

        async def send(
            form: Form, attempts: Attempts, *, may_refuse_form: bool, after: FormRefused | None
        ) -> ChatAnswer:
            body, tokens, factor = in_form(form)
            try:
                answer = await self._sender.send(
                    body, tokens, read_chat_body, attempts, may_refuse_form=may_refuse_form, after=after
                )
            except FormRefused as refusal:
                self._raise_if_about_tier(refusal.text, refusal)
                raise
            except BadRequest as refusal:
                self._raise_if_about_tier(refusal.provider_text, refusal)
                raise
            if answer.finish_reason == "length":
                self._lengthen(factor)
            return answer

        async def send_harmless(form: Form, attempts: Attempts) -> bool:
            body, tokens, _ = in_form(form)
            return await self._sender.send_harmless(body, tokens, read_chat_body, attempts) is not None

        return await self._capabilities.ask(send, attempts, send_harmless)

    def _raise_if_about_tier(self, text: str, refusal: Exception) -> None:
        """Raise FatalError where the words are about the tier that was asked for.

        It is never left out: without it a request would cost double.
        """
        tier = self._options.service_tier
        if tier and _SERVICE_TIER.search(text):
            raise FatalError(
                f"The endpoint or the model {self.model!r} does not offer the tier {tier!r}. {refusal} "
                "Set ABOUTNESS_TIER=standard and run it again."
            ) from refusal

    def _lengthen(self, factor: int) -> None:
        """Allow longer answers than those that were asked for with this factor."""
        if factor == self._limit_factor < LONGEST_LIMIT_FACTOR:
            self._limit_factor *= 2
            self._log.info(
                "An answer of %s was cut by its limit; from now on answers may be %d times as long.",
                self.model,
                self._limit_factor,
            )

"""Chat requests: the body that is sent, and the answer that comes of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.capabilities import LENGTH_LIMITS, Capabilities
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


class ChatClient:
    """Asks one chat model.

    Answers that are cut by their limit double the limit of those to come, up to LONGEST_LIMIT_FACTOR times.
    """

    def __init__(
        self, sender: Sender, capabilities: Capabilities, options: ChatOptions, log: logging.Logger
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

        estimated_tokens: (prompt, completion). An endpoint that refuses response_format is asked for a
        json_object from then on, one that refuses reasoning_effort or a limit of its answer's length is no
        longer sent it.
        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        wanted: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "response_format": response_format,
        }
        prompt, completion = estimated_tokens
        if self._options.reasoning_effort:
            wanted["reasoning_effort"] = self._options.reasoning_effort
        if self._options.service_tier:
            wanted["service_tier"] = self._options.service_tier
        while True:
            factor = self._limit_factor
            body = self._capabilities.adapt(wanted)
            thoughts = 0 if body.get("reasoning_effort") == "none" else REASONING_TOKENS
            limit = factor * (max_completion_tokens + thoughts)
            body = self._capabilities.adapt({**wanted, LENGTH_LIMITS[0]: limit})
            # Providers that do not count answers count the larger of the prompt and the limit.
            is_limited = any(name in body for name in LENGTH_LIMITS)
            counted = max(prompt, limit) if is_limited else prompt
            try:
                answer = await self._sender.send(body, (counted, completion), read_chat_body, attempts)
            except BadRequest as refusal:
                if self._capabilities.refuses_tier(refusal.provider_text, body):
                    raise FatalError(
                        f"The endpoint or the model {self.model!r} does not offer the tier "
                        f"{self._options.service_tier!r}. {refusal} Set ABOUTNESS_TIER=standard and run it "
                        "again."
                    ) from refusal
                if not self._capabilities.disable_unsupported_parameter(refusal.provider_text, body):
                    raise
            else:
                if answer.finish_reason == "length":
                    self._lengthen(factor)
                return answer

    def _lengthen(self, factor: int) -> None:
        """Allow longer answers than those that were asked for with this factor."""
        if factor == self._limit_factor < LONGEST_LIMIT_FACTOR:
            self._limit_factor *= 2
            self._log.info(
                "An answer of %s was cut by its limit; from now on answers may be %d times as long.",
                self.model,
                self._limit_factor,
            )

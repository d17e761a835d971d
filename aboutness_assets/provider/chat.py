"""Chat requests: the body that is sent, and the answer that comes of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.capabilities import Capabilities
from aboutness_assets.provider.refusals import BadRequest
from aboutness_assets.provider.sender import Sender
from aboutness_assets.provider.wire import read_chat_body


class ChatClient:
    """Asks one chat model. reasoning_effort: '' is not sent."""

    def __init__(self, sender: Sender, capabilities: Capabilities, reasoning_effort: str) -> None:
        self._sender = sender
        self._capabilities = capabilities
        self._reasoning_effort = reasoning_effort

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self._sender.service.model

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any],
        estimated_tokens: tuple[int, int],
        attempts: Attempts,
    ) -> ChatAnswer:
        """The answer to a chat request; ``attempts`` gets its raw body.

        estimated_tokens: (prompt, completion). An endpoint that refuses response_format is asked for a
        json_object from then on, one that refuses reasoning_effort is no longer sent it.
        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        wanted: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "response_format": response_format,
        }
        if self._reasoning_effort:
            wanted["reasoning_effort"] = self._reasoning_effort
        while True:
            body = self._capabilities.adapt(wanted)
            try:
                return await self._sender.send(body, estimated_tokens, read_chat_body, attempts)
            except BadRequest as refusal:
                if not self._capabilities.disable_unsupported_parameter(refusal.provider_text, body):
                    raise

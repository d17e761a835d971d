"""Embedding requests: the body that is sent, and the vectors that come of it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.sender import Sender
from aboutness_assets.provider.wire import EmbeddingsAnswer, read_embeddings_body


class EmbeddingClient:
    """Asks one embedding model."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self._sender.service.model

    async def embeddings(
        self, texts: Sequence[str], dimensions: int | None, estimated_tokens: int, attempts: Attempts
    ) -> EmbeddingsAnswer:
        """The vectors of the texts; dimensions is sent unless None.

        Raises RequestRefused (ContentFiltered), ProviderUnavailable, FatalError.
        """
        body: dict[str, Any] = {"model": self.model, "input": list(texts), "encoding_format": "base64"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        read = partial(read_embeddings_body, texts=len(texts))
        return await self._sender.send(body, (estimated_tokens, 0), read, attempts)

"""Embedding requests: the body that is sent, and the vectors that come of it."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.capabilities import Capabilities
from aboutness_assets.provider.form import Form, FormRefused, Level, Part
from aboutness_assets.provider.sender import Sender
from aboutness_assets.provider.wire import EmbeddingsAnswer, read_embeddings_body

EMBEDDING_PARTS = (
    Part(
        "encoding_format",
        re.compile(r"encoding|base64", re.IGNORECASE),
        (
            Level(
                "base64",
                "The endpoint refuses base64; from now on vectors come as numbers, which take more CPU.",
            ),
            Level("left out"),
        ),
    ),
)
"""``dimensions`` is none of them: it is sent where a column needs it, and then no other vector serves."""


class EmbeddingClient:
    """Asks one embedding model; capabilities: of EMBEDDING_PARTS."""

    def __init__(self, sender: Sender, capabilities: Capabilities) -> None:
        self._sender = sender
        self._capabilities = capabilities

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

        async def send(
            form: Form, attempts: Attempts, *, may_refuse_form: bool, after: FormRefused | None
        ) -> EmbeddingsAnswer:
            body: dict[str, Any] = {"model": self.model, "input": list(texts)}
            if form == (0,):
                body["encoding_format"] = "base64"
            if dimensions is not None:
                body["dimensions"] = dimensions
            return await self._sender.send(
                body,
                (estimated_tokens, 0),
                partial(read_embeddings_body, texts=len(texts)),
                attempts,
                may_refuse_form=may_refuse_form,
                after=after,
            )

        return await self._capabilities.ask(send, attempts)

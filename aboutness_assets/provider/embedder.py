"""Texts become vectors, many per request, each checked before it is believed."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np

from aboutness_assets.domain.errors import FatalError, RequestRefused
from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.embeddings import EmbeddingClient
from aboutness_assets.provider.wire import Vector

# OpenAI's API reference, "Create embeddings": at most 2,048 inputs and 300,000 tokens in one request.
MAX_TEXTS_PER_REQUEST = 2_048
MAX_TOKENS_PER_REQUEST = 300_000

_PROBE = "song"


class Embedder:
    """Embeds texts for columns of one dimension; ``check`` comes before the first ``embed``.

    One for all ranges of a run. dimension: of the columns; None where they declare none and the model's own
    counts.
    """

    def __init__(
        self,
        client: EmbeddingClient,
        dimension: int | None,
        *,
        max_texts_per_request: int = MAX_TEXTS_PER_REQUEST,
    ) -> None:
        self._client = client
        self._dimension = dimension
        self._max_texts = max_texts_per_request
        self._dimensions_to_send: int | None = None
        self._is_checked = False
        self._checking = asyncio.Lock()

    @property
    def model(self) -> str:
        """The model that makes the vectors."""
        return self._client.model

    async def check(self, attempts: Attempts) -> int:
        """The dimension of the vectors to come, found out with a tiny request or two, once.

        Settles whether ``dimensions`` is sent: only where the model's own differs from the column's. Raises
        FatalError where the model cannot fill the column; ProviderUnavailable.
        """
        async with self._checking:
            if not self._is_checked:
                await self._find_out(attempts)
                self._is_checked = True
        assert self._dimension is not None
        return self._dimension

    async def embed(self, texts: Sequence[str], attempts: Attempts) -> list[Vector | None]:
        """One vector per text, by position: of the right dimension, finite, not all zero.

        An unusable vector is asked for once more; None is a text that then still has none, or that the
        provider refuses. Raises FatalError where the model now makes another dimension; ProviderUnavailable.
        """
        vectors: list[Vector | None] = []
        for request in _requests(texts, self._max_texts):
            vectors += await self._embed_request(request, attempts)
        return vectors

    async def _find_out(self, attempts: Attempts) -> None:
        try:
            own = await self._probe(None, attempts)
        except RequestRefused as refusal:
            raise self._no_vector(str(refusal)) from refusal
        if self._dimension is None:
            self._dimension = own
        if own != self._dimension:
            try:
                made = await self._probe(self._dimension, attempts)
            except RequestRefused:
                made = own  # the model has one dimension only
            if made != self._dimension:
                raise self._wrong_dimension(made)
            self._dimensions_to_send = self._dimension

    async def _embed_request(self, texts: Sequence[str], attempts: Attempts) -> list[Vector | None]:
        try:
            vectors, foreign = await self._ask(texts, attempts)
            lacking = [position for position, vector in enumerate(vectors) if vector is None]
            if lacking:
                again, still_foreign = await self._ask([texts[position] for position in lacking], attempts)
                # One text alone is no proof of another model: it is left without a vector.
                if foreign and still_foreign and len(texts) > 1:
                    raise self._wrong_dimension(still_foreign)
                for position, vector in zip(lacking, again, strict=True):
                    vectors[position] = vector
            return vectors
        except RequestRefused:
            # One text may be what the provider refuses: halve until it stands alone, so that the others pass.
            if len(texts) == 1:
                return [None]
            middle = len(texts) // 2
            first = await self._embed_request(texts[:middle], attempts)
            return first + await self._embed_request(texts[middle:], attempts)

    async def _ask(self, texts: Sequence[str], attempts: Attempts) -> tuple[list[Vector | None], int | None]:
        """The usable vectors, and the dimension of the others where not one vector has the right one."""
        found = await self._request(texts, self._dimensions_to_send, attempts)
        sizes = {vector.size for vector in found if vector is not None}
        usable = [vector if vector is None or vector.size == self._dimension else None for vector in found]
        return usable, None if self._dimension in sizes else max(sizes, default=None)

    async def _probe(self, dimensions: int | None, attempts: Attempts) -> int:
        """The dimension of the vector of one word, asked for with ``dimensions`` unless None."""
        for _ in range(2):
            [vector] = await self._request([_PROBE], dimensions, attempts)
            if vector is not None:
                return vector.size
        raise self._no_vector("its answers hold no vector that is finite and not all zero.")

    async def _request(
        self, texts: Sequence[str], dimensions: int | None, attempts: Attempts
    ) -> list[Vector | None]:
        """The vectors of one request; None in place of one that is not finite, or all zero."""
        tokens = sum(map(estimate_tokens, texts))
        answer = await self._client.embeddings(texts, dimensions, tokens, attempts)
        return [
            vector if vector is not None and np.isfinite(vector).all() and vector.any() else None
            for vector in answer.vectors
        ]

    def _no_vector(self, reason: str) -> FatalError:
        return FatalError(
            f"The embedding model {self.model!r} makes no vector: {reason} "
            "Set ABOUTNESS_EMBEDDING_MODEL to one that does."
        )

    def _wrong_dimension(self, made: int) -> FatalError:
        return FatalError(
            f"The columns of song_aboutness hold vectors of {self._dimension} numbers, but the embedding "
            f"model {self.model!r} makes {made}. Set ABOUTNESS_EMBEDDING_MODEL to a model that makes vectors "
            "of the columns' dimension."
        )


def _requests(texts: Sequence[str], max_texts: int) -> Iterator[Sequence[str]]:
    """Cuts texts into requests that hold neither too many texts nor too many (estimated) tokens."""
    start = tokens = 0
    for position, text in enumerate(texts):
        of_this = estimate_tokens(text)
        if position > start and (position - start == max_texts or tokens + of_this > MAX_TOKENS_PER_REQUEST):
            yield texts[start:position]
            start, tokens = position, 0
        tokens += of_this
    if start < len(texts):
        yield texts[start:]

"""Texts become vectors, many a request, each checked before it is believed."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np

from aboutness_assets.domain.errors import FatalError, RequestRefused
from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.provider.client import OpenAIClient, Vector

# OpenAI's API reference, "Create embeddings": at most 2,048 inputs and 300,000 tokens in one request.
MAX_TEXTS_PER_REQUEST = 2_048
MAX_TOKENS_PER_REQUEST = 300_000

_PROBE = "song"


class VectorForm:
    """The vectors that a table takes and a model makes; one for all ranges of a run.

    dimension: of the columns; None where they declare none: then the model's own.
    """

    def __init__(self, dimension: int | None) -> None:
        self.dimension = dimension
        self.dimensions_to_send: int | None = None
        self.is_checked = False
        self.checking = asyncio.Lock()


class Embedder:
    """Embeds texts with the client's embedding model; ``check`` comes before the first ``embed``.

    embedding_requests, embedding_tokens: answered so far; tokens as the provider counted them.
    """

    def __init__(self, client: OpenAIClient, form: VectorForm) -> None:
        self.embedding_requests = 0
        self.embedding_tokens = 0
        self._client = client
        self._form = form

    async def check(self) -> int:
        """The dimension of the vectors to come, found out with a tiny request or two, once a form.

        Settles whether ``dimensions`` is sent: only where the model's own differs from the column's. Raises
        FatalError where the model cannot fill the column; ProviderUnavailable.
        """
        form = self._form
        async with form.checking:
            if not form.is_checked:
                await self._find_out(form)
                form.is_checked = True
        assert form.dimension is not None
        return form.dimension

    async def _find_out(self, form: VectorForm) -> None:
        try:
            own = await self._probe(None)
        except RequestRefused as refusal:
            raise self._no_vector(str(refusal)) from refusal
        if form.dimension is None:
            form.dimension = own
        if own != form.dimension:
            try:
                made = await self._probe(form.dimension)
            except RequestRefused:
                made = own  # the model has one dimension only
            if made != form.dimension:
                raise self._wrong_dimension(made)
            form.dimensions_to_send = form.dimension

    async def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """One vector for each text, by position: of the right dimension, finite, not all zero.

        An unusable vector is asked for once more; None is a text that then still has none, or that the
        provider refuses. Raises FatalError where the model now makes another dimension; ProviderUnavailable.
        """
        vectors: list[Vector | None] = []
        for batch in _batches(texts):
            vectors += await self._embed_batch(batch)
        return vectors

    async def _embed_batch(self, texts: Sequence[str]) -> list[Vector | None]:
        try:
            vectors, foreign = await self._ask(texts)
            lacking = [position for position, vector in enumerate(vectors) if vector is None]
            if lacking:
                again, still_foreign = await self._ask([texts[position] for position in lacking])
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
            return await self._embed_batch(texts[:middle]) + await self._embed_batch(texts[middle:])

    async def _ask(self, texts: Sequence[str]) -> tuple[list[Vector | None], int | None]:
        """The usable vectors, and the dimension of the others where not one vector has the right one."""
        found = await self._request(texts, self._form.dimensions_to_send)
        sizes = {vector.size for vector in found if vector is not None}
        usable = [
            vector if vector is None or vector.size == self._form.dimension else None for vector in found
        ]
        return usable, None if self._form.dimension in sizes else max(sizes, default=None)

    async def _probe(self, dimensions: int | None) -> int:
        """The dimension of the vector of one word, asked for with ``dimensions`` unless None."""
        for _ in range(2):
            [vector] = await self._request([_PROBE], dimensions)
            if vector is not None:
                return vector.size
        raise self._no_vector("its answers hold none that is finite and not all zero.")

    async def _request(self, texts: Sequence[str], dimensions: int | None) -> list[Vector | None]:
        """One request; a vector that is not finite, or all zero, is none."""
        answer = await self._client.embeddings(texts, dimensions, sum(map(estimate_tokens, texts)))
        self.embedding_requests += 1
        self.embedding_tokens += answer.tokens
        return [
            vector if vector is not None and np.isfinite(vector).all() and vector.any() else None
            for vector in answer.vectors
        ]

    def _no_vector(self, reason: str) -> FatalError:
        return FatalError(
            f"The embedding model {self._client.embedding_model!r} makes no vector: {reason} "
            "Set ABOUTNESS_EMBEDDING_MODEL to one that does."
        )

    def _wrong_dimension(self, made: int) -> FatalError:
        return FatalError(
            f"The columns of song_aboutness hold vectors of {self._form.dimension} numbers, but the "
            f"embedding model {self._client.embedding_model!r} makes {made}. Set "
            "ABOUTNESS_EMBEDDING_MODEL to a model that makes vectors of the columns' dimension."
        )


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cuts texts into requests that hold neither too many texts nor too many (estimated) tokens."""
    start = tokens = 0
    for position, text in enumerate(texts):
        of_this = estimate_tokens(text)
        if position > start and (
            position - start == MAX_TEXTS_PER_REQUEST or tokens + of_this > MAX_TOKENS_PER_REQUEST
        ):
            yield texts[start:position]
            start, tokens = position, 0
        tokens += of_this
    if start < len(texts):
        yield texts[start:]

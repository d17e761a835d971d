"""Texts become vectors, many per request, each checked before it is believed."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError, RequestRefused
from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.provider.attempts import Attempts, Loss
from aboutness_assets.provider.capability_store import CapabilityStore
from aboutness_assets.provider.embeddings import EmbeddingClient
from aboutness_assets.provider.wire import EmbeddingsAnswer, NoVector, Vector

# OpenAI's API reference, "Create embeddings": at most 2,048 inputs and 300,000 tokens in one request.
MAX_TEXTS_PER_REQUEST = 2_048
MAX_TOKENS_PER_REQUEST = 300_000

_PROBE = "song"


FAILURES_BEFORE_HALVING = 3
"""How often a request of many texts may fail (429, 5xx, no answer) before fewer are tried."""

_LIMIT = "max_texts_per_request"


class _TooMuch(Exception):
    """A request was refused, or failed several times: it may hold too many texts, or one that is refused."""

    def __init__(self, message: str, *, is_refusal: bool) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


class _Impatient:
    """Attempts that keep a request from leaving once more after so many failures. Raises _TooMuch."""

    def __init__(self, attempts: Attempts, failures: int) -> None:
        self._attempts = attempts
        self._left = failures

    async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
        if self._left <= 0:
            raise _TooMuch("It failed too often.", is_refusal=False)
        await self._attempts.sending(body_bytes=body_bytes, max_completion_tokens=max_completion_tokens)

    async def answered(self, body: bytes, usage: Usage | None, service_tier: str | None) -> None:
        await self._attempts.answered(body, usage, service_tier)

    async def lost(self, loss: Loss, usage: Usage | None = None, service_tier: str | None = None) -> None:
        self._left -= 1
        await self._attempts.lost(loss, usage, service_tier)


class Embedder:
    """Embeds texts for columns of one dimension; ``check`` comes before the first ``embed``.

    One for all ranges of a run. dimension: of the columns; None where they declare none and the model's own
    counts. store: remembers how many texts the endpoint takes in one request.
    """

    def __init__(
        self,
        client: EmbeddingClient,
        dimension: int | None,
        store: CapabilityStore,
        log: logging.Logger,
        *,
        max_texts_per_request: int = MAX_TEXTS_PER_REQUEST,
    ) -> None:
        self._client = client
        self._dimension = dimension
        self._store = store
        self._log = log
        self._max_texts = max_texts_per_request
        self._dimensions_to_send: int | None = None
        self._is_checked = False
        self._checking = asyncio.Lock()
        self._halving = asyncio.Lock()
        self._contradictions = 0  # in a row, of answers to several texts

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
                await self._recall_limit()
                await self._find_out(attempts)
                self._is_checked = True
        assert self._dimension is not None
        return self._dimension

    async def embed(self, texts: Sequence[str], attempts: Attempts) -> list[Vector | NoVector]:
        """One vector per text, by position: of the right dimension, finite, not all zero.

        An unusable vector is asked for once more; a text that then still has none, or that the provider
        refuses, gets the reason. Where the endpoint takes fewer texts in one request, that is found out by
        halving, once. Raises FatalError where the model now makes another dimension; ProviderUnavailable.
        """
        vectors: list[Vector | NoVector] = []
        while len(vectors) < len(texts):
            request = next(_requests(texts[len(vectors) :], self._max_texts))
            try:
                vectors += await self._embed_request(request, attempts, failures=FAILURES_BEFORE_HALVING)
            except _TooMuch as too_much:
                async with self._halving:  # what one finds out the others need not
                    await self._recall_limit()
                    if len(request) <= self._max_texts:
                        vectors += await self._halve(request, attempts, too_much)
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

    async def _recall_limit(self) -> None:
        limit = (await self._store.recall()).get(_LIMIT)
        if type(limit) is int and 0 < limit < self._max_texts:
            self._max_texts = limit

    async def _learn_limit(self, texts: int) -> None:
        if texts < self._max_texts:
            self._max_texts = texts
            self._log.warning(
                "The endpoint takes fewer texts in one embedding request; from now on %d at most are sent.",
                texts,
            )
            await self._store.learn({_LIMIT: texts})

    async def _halve(
        self, texts: Sequence[str], attempts: Attempts, failure: _TooMuch
    ) -> list[Vector | NoVector]:
        """The vectors of a request that failed, by halves; teaches how many texts are not too many.

        They were too many if every text passes with fewer beside it. A refusal of one text is no limit, and
        an outage that has ended meanwhile is none either: then the whole passes.
        """
        if len(texts) == 1:
            return [NoVector(str(failure).rstrip("."), is_refused=True)]
        middle = (len(texts) + 1) // 2
        first = await self._embed_part(texts[:middle], attempts)
        if not failure.is_refusal and not any(map(_is_refused, first)):
            try:
                return await self._embed_request(texts, attempts, failures=1)
            except _TooMuch as again:
                failure = again
        second = await self._embed_part(texts[middle:], attempts)
        if not any(map(_is_refused, (*first, *second))):
            await self._learn_limit(middle)
        return first + second

    async def _embed_part(self, texts: Sequence[str], attempts: Attempts) -> list[Vector | NoVector]:
        vectors: list[Vector | NoVector] = []
        while len(vectors) < len(texts):
            part = next(_requests(texts[len(vectors) :], self._max_texts))
            try:
                vectors += await self._embed_request(part, attempts, failures=1)
            except _TooMuch as failure:
                vectors += await self._halve(part, attempts, failure)
        return vectors

    async def _embed_request(
        self, texts: Sequence[str], attempts: Attempts, *, failures: int
    ) -> list[Vector | NoVector]:
        """The vectors of one request, those that are unusable asked for once more.

        Raises _TooMuch where it is refused, or where it holds many texts and has failed so often.
        """
        patient = attempts if len(texts) == 1 else _Impatient(attempts, failures)
        try:
            vectors, foreign, is_contradictory = await self._ask(texts, patient)
            if is_contradictory and len(texts) > 1:
                return await self._embed_singly(texts, attempts)
            if len(texts) > 1:
                self._contradictions = 0
            lacking = [position for position, vector in enumerate(vectors) if isinstance(vector, NoVector)]
            if lacking:
                again, still_foreign, _ = await self._ask([texts[position] for position in lacking], patient)
                # One text alone is no proof of another model: it is left without a vector.
                if foreign and still_foreign and len(texts) > 1:
                    raise self._wrong_dimension(still_foreign)
                for position, vector in zip(lacking, again, strict=True):
                    vectors[position] = vector
        except RequestRefused as refusal:
            raise _TooMuch(str(refusal), is_refusal=True) from refusal
        return vectors

    async def _embed_singly(self, texts: Sequence[str], attempts: Attempts) -> list[Vector | NoVector]:
        """The vectors of texts whose common answer did not tell which is whose.

        An endpoint that answers so again is never asked for several at once from then on.
        """
        self._contradictions += 1
        if self._contradictions > 1:
            await self._learn_limit(1)
        return [vector for text in texts for vector in await self._embed_part([text], attempts)]

    async def _ask(
        self, texts: Sequence[str], attempts: Attempts
    ) -> tuple[list[Vector | NoVector], int | None, bool]:
        """The usable vectors, the dimension of the others where not one has the right one, and whether the
        answer contradicts itself.
        """
        answer = await self._request(texts, self._dimensions_to_send, attempts)
        sizes = {vector.size for vector in answer.vectors if not isinstance(vector, NoVector)}
        usable = [
            vector
            if isinstance(vector, NoVector) or vector.size == self._dimension
            else NoVector(f"it holds {vector.size} numbers instead of {self._dimension}")
            for vector in answer.vectors
        ]
        foreign = None if self._dimension in sizes else max(sizes, default=None)
        return usable, foreign, answer.is_contradictory

    async def _probe(self, dimensions: int | None, attempts: Attempts) -> int:
        """The dimension of the vector of one word, asked for with ``dimensions`` unless None."""
        reason = ""
        for _ in range(2):
            [vector] = (await self._request([_PROBE], dimensions, attempts)).vectors
            if not isinstance(vector, NoVector):
                return vector.size
            reason = vector.reason
        raise self._no_vector(f"the vector of one word, asked for twice, cannot be used: {reason}.")

    async def _request(
        self, texts: Sequence[str], dimensions: int | None, attempts: Attempts
    ) -> EmbeddingsAnswer:
        """The answer to one request, without vectors that are not finite, or all zero."""
        tokens = sum(map(estimate_tokens, texts))
        answer = await self._client.embeddings(texts, dimensions, tokens, attempts)
        return replace(answer, vectors=[_checked(vector) for vector in answer.vectors])

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


def _checked(vector: Vector | NoVector) -> Vector | NoVector:
    """The vector where it is finite and not all zero."""
    if isinstance(vector, NoVector):
        return vector
    if not vector.size:
        return NoVector("it is empty")
    if not np.isfinite(vector).all():
        return NoVector("it holds a number that is not finite")
    return vector if vector.any() else NoVector("it is all zeros")


def _is_refused(vector: Vector | NoVector) -> bool:
    return isinstance(vector, NoVector) and vector.is_refused

"""This project's own classes, stage by stage, with journal, ledger and all checks.

chat: throttle, client, reading and checking of answers. journal: the entries of as many requests, in the
ledger too, with their prices.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from aboutness_assets.database.operations.capability_store import PostgresCapabilityStore
from aboutness_assets.database.operations.connection import Operations, open_operations
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.journal import Journal
from aboutness_assets.database.operations.ledger import PostgresLedger
from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.database.service.aboutness_table import Row
from aboutness_assets.database.service.connection import open_service
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.database.url import operations_conninfo, service_conninfo
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import Aboutness, RequestKind, Song
from aboutness_assets.generation.generator import Answered, GeneratedPack, generate
from aboutness_assets.generation.packs import Pack, packs_of
from aboutness_assets.generation.prompt import (
    PROMPT_HASH,
    chat_messages,
    estimated_tokens,
    max_completion_tokens,
    response_format,
)
from aboutness_assets.limits.breaker import CircuitBreaker
from aboutness_assets.limits.throttle import Throttle
from aboutness_assets.money.prices import chat_price, embedding_price
from aboutness_assets.money.tariff import Tariff
from aboutness_assets.provider.attempts import Loss
from aboutness_assets.provider.capabilities import Capabilities
from aboutness_assets.provider.chat import ChatClient, ChatOptions
from aboutness_assets.provider.chat_form import chat_parts
from aboutness_assets.provider.embedder import Embedder
from aboutness_assets.provider.embeddings import EMBEDDING_PARTS, EmbeddingClient
from aboutness_assets.provider.sender import Sender
from aboutness_assets.provider.services import Service, chat_service, embedding_service
from aboutness_assets.provider.transport import Endpoint, Transport
from aboutness_assets.provider.wire import NoVector, Vector
from benchmarks.contenders.job import (
    CHAT_AT_ONCE,
    EMBEDDINGS_AT_ONCE,
    PACK_SIZE,
    REQUESTS_PER_MINUTE,
    ROWS_A_TRANSACTION,
    TEXTS_A_REQUEST,
    TOKENS_PER_MINUTE,
    CatalogueSong,
    Job,
    Meter,
)

LOG = logging.getLogger(__name__)

PACKS_SETTLED_AT_ONCE = ROWS_A_TRANSACTION // PACK_SIZE


@dataclass(slots=True)
class Attempt:
    """The one HTTP request of a call, as the sender tells of it (provider.attempts.Attempts)."""

    body_bytes: int = 0
    limit: int | None = None
    answer: bytes = b""
    usage: Usage | None = None

    async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
        """A request is about to leave."""
        self.body_bytes, self.limit = body_bytes, max_completion_tokens

    async def answered(self, body: bytes, usage: Usage | None, service_tier: str | None) -> None:
        """Its answer came."""
        self.answer, self.usage = body, usage

    async def lost(self, loss: Loss, usage: Usage | None = None, service_tier: str | None = None) -> None:
        """It brought no answer: the endpoint answers all of them."""
        raise AssertionError(loss)


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Generate, keep journal and ledger, embed and insert, one after the other."""
    asyncio.run(_run(job, [Song(*song) for song in songs], meter))


async def _run(job: Job, songs: list[Song], meter: Meter) -> None:
    async with (
        open_service(service_conninfo(job.service_url), EMBEDDINGS_AT_ONCE) as pool,
        open_operations(operations_conninfo(job.operations_url)) as operations,
        Transport(Endpoint("benchmark", job.base_url, 120)) as transport,
    ):
        sender = partial(_sender, transport, operations)
        chat = ChatClient(
            sender(chat_service(job.chat_model), CHAT_AT_ONCE),
            Capabilities(
                chat_parts("none"),
                PostgresCapabilityStore(operations, "chat", job.base_url, job.chat_model),
                LOG,
            ),
            ChatOptions("none"),
            LOG,
        )
        attempts: dict[Pack, Attempt] = {}
        with meter.stage("chat"):
            packs = packs_of(songs, PACK_SIZE)
            breaker = CircuitBreaker(5, 0.5, 50)
            generated = await asyncio.gather(*(_generate(chat, breaker, pack, attempts) for pack in packs))
        with meter.stage("journal"):
            await _keep_journal(job, operations, attempts)
        async with pool.connection() as connection:
            table = await read_table(connection)
        store = PostgresCapabilityStore(operations, "embedding", job.base_url, job.embedding_model)
        embedding = EmbeddingClient(
            sender(embedding_service(job.embedding_model), EMBEDDINGS_AT_ONCE),
            Capabilities(EMBEDDING_PARTS, store, LOG),
        )
        embedder = Embedder(embedding, table.dimension, store, LOG)
        await embedder.check(Attempt())
        with meter.stage("embedding"):
            written = [text for pack in generated for text in pack.written]
            vectors = await _embed(embedder, written)
        with meter.stage("insert"):
            rows = [
                Row(song.song_id, aboutness, vectors[2 * number], vectors[2 * number + 1])
                for number, (song, aboutness) in enumerate(written)
            ]
            for at in range(0, len(rows), ROWS_A_TRANSACTION):
                await table.insert(pool, rows[at : at + ROWS_A_TRANSACTION], LOG)


def _sender(transport: Transport, operations: Operations, service: Service, at_once: int) -> Sender:
    store = PostgresLimitStore(
        operations,
        f"benchmark {service.kind}",
        requests_per_minute=REQUESTS_PER_MINUTE,
        tokens_per_minute=TOKENS_PER_MINUTE,
    )
    return Sender(service, transport, Throttle(store, max_in_flight=at_once), LOG)


async def _generate(
    client: ChatClient, breaker: CircuitBreaker, pack: Pack, attempts: dict[Pack, Attempt]
) -> GeneratedPack:
    async def ask(pack: Pack, kind: RequestKind) -> Answered:
        attempt = attempts[pack] = Attempt()
        answer = await client.chat(
            chat_messages(pack),
            response_format(pack),
            max_completion_tokens(pack),
            estimated_tokens(pack),
            attempt,
        )
        return Answered(0, answer)

    return await generate(pack, ask, breaker)


async def _keep_journal(job: Job, operations: Operations, attempts: dict[Pack, Attempt]) -> None:
    run = RangeRun("benchmark", "benchmark", "benchmark", "benchmark")
    ledger = PostgresLedger(operations, run, IdBlocks(operations, "attempt"), max_usd=None)
    journal = Journal(operations, run, "integer", ledger, IdBlocks(operations, "chat_request"))
    tariff = Tariff(
        chat_price(job.chat_model, None), embedding_price(job.embedding_model, None), tier="standard"
    )
    slots = asyncio.Semaphore(CHAT_AT_ONCE)

    async def keep(pack: Pack, attempt: Attempt) -> int:
        async with slots:
            charge = tariff.chat_charge(
                job.chat_model,
                body_bytes=attempt.body_bytes,
                max_completion_tokens=attempt.limit or max_completion_tokens(pack),
            )
            promised = tariff.promised_usd(len(pack.songs))
            intent = await journal.intend(
                pack.songs,
                "pack",
                charge,
                prompt_hash=PROMPT_HASH,
                reasoning_effort="none",
                promised_usd=promised,
            )
            assert intent is not None, "There is no cap that could forbid it."
            outcome = tariff.outcome(charge, attempt.usage, None)
            await journal.answered(intent.request_id, intent.attempt_id, attempt.answer, outcome)
        return intent.request_id

    request_ids = await asyncio.gather(*(keep(pack, attempt) for pack, attempt in attempts.items()))
    for at in range(0, len(request_ids), PACKS_SETTLED_AT_ONCE):
        await journal.settle(request_ids[at : at + PACKS_SETTLED_AT_ONCE])


async def _embed(embedder: Embedder, written: Sequence[tuple[Song, Aboutness]]) -> list[Vector]:
    texts = [text for _, about in written for text in (about.emotions_text, about.moments_text)]
    requests = [texts[at : at + TEXTS_A_REQUEST] for at in range(0, len(texts), TEXTS_A_REQUEST)]
    answers = await asyncio.gather(*(embedder.embed(request, Attempt()) for request in requests))
    vectors = [vector for of in answers for vector in of]
    found = [vector for vector in vectors if not isinstance(vector, NoVector)]
    assert len(found) == len(vectors), "The endpoint left texts without a vector."
    return found

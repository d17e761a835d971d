"""This project's own classes, stage by stage, with the journal and all checks.

chat: throttle, client, reading and checking of answers. journal: the entries of as many requests.
"""

import asyncio
import logging
from collections.abc import Sequence

from aboutness_assets.provider.client import OpenAIClient, Vector, read_chat_body

from aboutness_assets.database.operations.connection import Operations, open_operations
from aboutness_assets.database.operations.journal import Journal
from aboutness_assets.database.operations.limit_store import PostgresLimitStore
from aboutness_assets.database.service.aboutness_table import Row, read_table
from aboutness_assets.database.service.connection import open_service
from aboutness_assets.database.url import operations_conninfo
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.songs import Aboutness, RequestKind, Song
from aboutness_assets.generation.generator import Answered, GeneratedPack, generate
from aboutness_assets.generation.packs import Pack, packs_of
from aboutness_assets.generation.prompt import PROMPT_HASH, chat_messages, estimated_tokens, response_format
from aboutness_assets.limits.breaker import CircuitBreaker
from aboutness_assets.limits.throttle import Throttle
from aboutness_assets.money.prices import cost_usd
from aboutness_assets.provider.embedder import Embedder, VectorForm
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


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Generate, keep the journal, embed and insert, one after the other."""
    asyncio.run(_run(job, [Song(*song) for song in songs], meter))


async def _run(job: Job, songs: list[Song], meter: Meter) -> None:
    async with (
        open_service(job.service_url, EMBEDDINGS_AT_ONCE) as pool,
        open_operations(operations_conninfo(job.operations_url)) as operations,
        _client(job, operations) as client,
    ):
        bodies: dict[Pack, bytes] = {}
        with meter.stage("chat"):
            packs = packs_of(songs, PACK_SIZE)
            breaker = CircuitBreaker(5, 0.5, 50)
            generated = await asyncio.gather(*(_generate(client, breaker, pack, bodies) for pack in packs))
        with meter.stage("journal"):
            await _keep_journal(job, operations, bodies)
        async with pool.connection() as connection:
            table = await read_table(connection)
        embedder = Embedder(client, VectorForm(table.dimension))
        await embedder.check()
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


def _client(job: Job, operations: Operations) -> OpenAIClient:
    def throttle(kind: str, at_once: int) -> Throttle:
        limit = PostgresLimitStore(
            operations,
            f"benchmark {kind}",
            requests_per_minute=REQUESTS_PER_MINUTE,
            tokens_per_minute=TOKENS_PER_MINUTE,
        )
        return Throttle(limit, max_in_flight=at_once)

    return OpenAIClient(
        api_key="benchmark",
        base_url=job.base_url,
        chat_model=job.chat_model,
        reasoning_effort="none",
        embedding_model=job.embedding_model,
        request_timeout_seconds=120,
        chat_throttle=throttle("chat", CHAT_AT_ONCE),
        embedding_throttle=throttle("embedding", EMBEDDINGS_AT_ONCE),
        log=LOG,
    )


async def _generate(
    client: OpenAIClient, breaker: CircuitBreaker, pack: Pack, bodies: dict[Pack, bytes]
) -> GeneratedPack:
    async def ask(pack: Pack, kind: RequestKind) -> Answered:
        body = bodies[pack] = await client.chat(
            chat_messages(pack), response_format(pack), estimated_tokens(pack)
        )
        return Answered(0, read_chat_body(body))

    return await generate(pack, ask, breaker)


async def _keep_journal(job: Job, operations: Operations, bodies: dict[Pack, bytes]) -> None:
    journal = Journal(
        operations,
        table_id="benchmark",
        budget="benchmark",
        run_id="benchmark",
        range_key="benchmark",
        integer_ids=True,
        max_usd=None,
    )
    slots = asyncio.Semaphore(CHAT_AT_ONCE)

    async def keep(pack: Pack, body: bytes) -> int:
        prompt_tokens, completion_tokens = estimated_tokens(pack)
        usage = Usage(prompt_tokens, 0, completion_tokens)
        usd = cost_usd(job.chat_model, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        async with slots:
            request_id = await journal.intend(
                pack.songs, "pack", model=job.chat_model, prompt_hash=PROMPT_HASH, max_usd_estimate=usd
            )
            await journal.answered(request_id, body, usage, usd, usd_to_come=usd)
        return request_id

    request_ids = await asyncio.gather(*(keep(pack, body) for pack, body in bodies.items()))
    for at in range(0, len(request_ids), PACKS_SETTLED_AT_ONCE):
        await journal.settle(request_ids[at : at + PACKS_SETTLED_AT_ONCE])


async def _embed(embedder: Embedder, written: Sequence[tuple[Song, Aboutness]]) -> list[Vector]:
    texts = [text for _, about in written for text in (about.emotions_text, about.moments_text)]
    requests = [texts[at : at + TEXTS_A_REQUEST] for at in range(0, len(texts), TEXTS_A_REQUEST)]
    vectors = [vector for of in await asyncio.gather(*map(embedder.embed, requests)) for vector in of]
    found = [vector for vector in vectors if vector is not None]
    assert len(found) == len(vectors), "The endpoint left texts without a vector."
    return found

"""What most would write: the ``openai`` client with a semaphore and ``gather``, pgvector's own adapter.

As the documentation of each shows it: answers parsed by the client, embeddings as lists of floats.
"""

import asyncio
import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import openai
import psycopg
from pgvector.psycopg import register_vector_async  # type: ignore[import-not-found]

from benchmarks.contenders.job import (
    CHAT_AT_ONCE,
    EMBEDDINGS_AT_ONCE,
    INSERT,
    ROWS_A_TRANSACTION,
    TEXTS_A_REQUEST,
    CatalogueSong,
    Job,
    Meter,
    Texts,
    packs_of,
)


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Generate, embed and insert, one after the other."""
    asyncio.run(_run(job, songs, meter))


async def _run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    async with openai.AsyncOpenAI(base_url=job.base_url, api_key="benchmark") as client:
        with meter.stage("chat"):
            written = await _generate(client, job, songs)
        with meter.stage("embedding"):
            texts = [text for song in written for text in (song.emotions, song.moments)]
            vectors = await _embed(client, job, texts)
    async with await psycopg.AsyncConnection.connect(job.service_url) as connection:
        await register_vector_async(connection)
        with meter.stage("insert"):
            rows = [
                (
                    song.song_id,
                    song.emotions,
                    song.emotions_confidence,
                    np.array(vectors[2 * number]),
                    song.moments,
                    song.moments_confidence,
                    np.array(vectors[2 * number + 1]),
                )
                for number, song in enumerate(written)
            ]
            for at in range(0, len(rows), ROWS_A_TRANSACTION):
                async with connection.transaction():
                    await connection.cursor().executemany(INSERT, rows[at : at + ROWS_A_TRANSACTION])


async def _generate(client: openai.AsyncOpenAI, job: Job, songs: list[CatalogueSong]) -> list[Texts]:
    slots = asyncio.Semaphore(CHAT_AT_ONCE)

    async def ask(pack: list[CatalogueSong]) -> list[Texts]:
        request: dict[str, Any] = {
            "model": job.chat_model,
            "messages": job.messages(pack),
            "response_format": job.response_format,
            "reasoning_effort": "none",
        }
        async with slots:
            completion = await client.chat.completions.create(**request)
        entries = json.loads(completion.choices[0].message.content or "")["songs"]
        return [Texts.of(song, entries[str(key)]) for key, song in enumerate(pack, start=1)]

    return list(chain.from_iterable(await asyncio.gather(*map(ask, packs_of(songs)))))


async def _embed(client: openai.AsyncOpenAI, job: Job, texts: Sequence[str]) -> list[list[float]]:
    slots = asyncio.Semaphore(EMBEDDINGS_AT_ONCE)

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        async with slots:
            answer = await client.embeddings.create(model=job.embedding_model, input=list(texts))
        return [item.embedding for item in answer.data]

    requests = [texts[at : at + TEXTS_A_REQUEST] for at in range(0, len(texts), TEXTS_A_REQUEST)]
    return list(chain.from_iterable(await asyncio.gather(*map(embed, requests))))

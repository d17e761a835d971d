"""The floor: aiohttp by itself, the least parsing, binary vectors, ``executemany``. No journal and no checks.

A wrong or missing entry, a 429 or a lost connection ends it: it shows what the bytes alone cost.
"""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import aiohttp
import numpy as np
import orjson
import psycopg
import pybase64
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

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

_HEADERS = {"Authorization": "Bearer benchmark", "Content-Type": "application/json"}


class _BinaryVector:
    def __init__(self, little_endian: bytes) -> None:
        elements = np.frombuffer(little_endian, "<f4").astype(">f4")
        self.data = len(elements).to_bytes(2, "big") + b"\0\0" + elements.tobytes()


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Generate, embed and insert, one after the other."""
    asyncio.run(_run(job, songs, meter))


async def _run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    async with aiohttp.ClientSession(headers=_HEADERS) as session:
        chat_slots = asyncio.Semaphore(CHAT_AT_ONCE)
        embedding_slots = asyncio.Semaphore(EMBEDDINGS_AT_ONCE)

        async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            async with session.post(job.base_url + path, data=orjson.dumps(body)) as reply:
                reply.raise_for_status()
                answer: dict[str, Any] = orjson.loads(await reply.read())
            return answer

        async def ask(pack: list[CatalogueSong]) -> list[Texts]:
            async with chat_slots:
                answer = await post(
                    "/chat/completions",
                    {
                        "model": job.chat_model,
                        "messages": job.messages(pack),
                        "response_format": job.response_format,
                        "reasoning_effort": "none",
                    },
                )
            entries = orjson.loads(answer["choices"][0]["message"]["content"])["songs"]
            return [Texts.of(song, entries[str(key)]) for key, song in enumerate(pack, start=1)]

        async def embed(texts: Sequence[str]) -> list[_BinaryVector]:
            async with embedding_slots:
                answer = await post(
                    "/embeddings",
                    {"model": job.embedding_model, "input": texts, "encoding_format": "base64"},
                )
            return [_BinaryVector(pybase64.b64decode(item["embedding"])) for item in answer["data"]]

        with meter.stage("chat"):
            written = list(chain.from_iterable(await asyncio.gather(*map(ask, packs_of(songs)))))
        with meter.stage("embedding"):
            texts = [text for song in written for text in (song.emotions, song.moments)]
            requests = [texts[at : at + TEXTS_A_REQUEST] for at in range(0, len(texts), TEXTS_A_REQUEST)]
            vectors = list(chain.from_iterable(await asyncio.gather(*map(embed, requests))))
    async with await psycopg.AsyncConnection.connect(job.service_url) as connection:
        vector = await TypeInfo.fetch(connection, "vector")
        assert vector is not None
        vector_oid = vector.oid

        class BinaryVectorDumper(Dumper):
            format = Format.BINARY
            oid = vector_oid

            def dump(self, obj: _BinaryVector) -> bytes:
                return obj.data

        connection.adapters.register_dumper(_BinaryVector, BinaryVectorDumper)
        with meter.stage("insert"):
            rows = [
                (
                    song.song_id,
                    song.emotions,
                    song.emotions_confidence,
                    vectors[2 * number],
                    song.moments,
                    song.moments_confidence,
                    vectors[2 * number + 1],
                )
                for number, song in enumerate(written)
            ]
            for at in range(0, len(rows), ROWS_A_TRANSACTION):
                async with connection.transaction():
                    await connection.cursor().executemany(INSERT, rows[at : at + ROWS_A_TRANSACTION])

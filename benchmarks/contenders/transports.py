"""The ways in which the ``openai`` client can send one request and hand back its answer.

Each way reads the answer in the end: ``parsed`` by the client's own models, the others as this project does.
The body is made once: what is compared is the way of sending it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from aboutness_assets.provider.wire import read_chat_body, read_embeddings_body
from benchmarks.contenders.job import PACK_SIZE, CatalogueSong, Job, Meter

PARSED, RAW, POST, SESSION = "parsed", "raw response", "client.post", "no client"
WAYS = {
    "parsed, httpx2 (the client's default)": (PARSED, "httpx2"),
    "parsed, aiohttp": (PARSED, "aiohttp"),
    "raw response, httpx2": (RAW, "httpx2"),
    "raw response, aiohttp": (RAW, "aiohttp"),
    "client.post, httpx2": (POST, "httpx2"),
    "client.post, aiohttp (ours)": (POST, "aiohttp"),
    "aiohttp without the client": (SESSION, "aiohttp"),
}

REQUESTS = {"chat": 500, "20 texts": 200, "200 texts": 40, "1000 texts": 8}
AT_ONCE = 4

Send = Callable[[], Awaitable[object]]


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Every way with every kind of request; a stage is named ``kind: way``."""
    asyncio.run(_run(job, songs, meter))


async def _run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    for way, (form, transport) in WAYS.items():
        async with (
            openai.AsyncOpenAI(
                base_url=job.base_url,
                api_key="benchmark",
                max_retries=0,
                http_client=openai.DefaultAioHttpClient() if transport == "aiohttp" else None,
            ) as client,
            aiohttp.ClientSession(headers={"Authorization": "Bearer benchmark"}) as session,
        ):
            for kind, requests in REQUESTS.items():
                send = _sender(job, songs, kind, form, client, session)
                await send()
                with meter.stage(f"{kind}: {way}"):
                    await asyncio.gather(*(_repeat(send, requests // AT_ONCE) for _ in range(AT_ONCE)))


async def _repeat(send: Send, times: int) -> None:
    for _ in range(times):
        await send()


def _sender(
    job: Job,
    songs: list[CatalogueSong],
    kind: str,
    form: str,
    client: openai.AsyncOpenAI,
    session: aiohttp.ClientSession,
) -> Send:
    """Sends one request of the kind and reads its answer."""
    body: dict[str, Any]
    if kind == "chat":
        path = "/chat/completions"
        body = {
            "model": job.chat_model,
            "messages": job.messages(songs[:PACK_SIZE]),
            "response_format": job.response_format,
            "reasoning_effort": "none",
        }
    else:
        path = "/embeddings"
        texts = int(kind.split(maxsplit=1)[0])
        body = {
            "model": job.embedding_model,
            "input": [f"A text of some sixty characters about feelings, number {n}" for n in range(texts)],
            "encoding_format": "base64",
        }

    def read(raw: bytes) -> object:
        return read_chat_body(raw) if kind == "chat" else read_embeddings_body(raw, texts)

    async def parsed() -> object:
        if kind == "chat":
            completion = await client.chat.completions.create(**body)
            return completion.choices[0].message.content
        answer = await client.embeddings.create(model=body["model"], input=body["input"])  # asks for base64
        return [item.embedding for item in answer.data]

    async def raw_response() -> object:
        methods = client.chat.completions if kind == "chat" else client.embeddings
        return read((await methods.with_raw_response.create(**body)).content)

    async def post() -> object:
        return read((await client.post(path, cast_to=httpx2.Response, body=body)).content)

    async def without_the_client() -> object:
        async with session.post(
            job.base_url + path, data=orjson.dumps(body), headers={"Content-Type": "application/json"}
        ) as reply:
            return read(await reply.read())

    return {PARSED: parsed, RAW: raw_response, POST: post, SESSION: without_the_client}[form]

"""The parallel request processor of OpenAI's cookbook, written again after its idea.

After api_request_parallel_processor.py: one JSON line a request in a file, a loop that lets the next one go
when requests and tokens a minute allow, a bounded number of tries, one JSON line an answer in another file.
The texts come from the file of answers, are embedded by the same processor and inserted as text. Its
tokenizer is left out (tokens are characters / 4), which makes it cheaper than it is.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from benchmarks.contenders.job import (
    INSERT,
    REQUESTS_PER_MINUTE,
    ROWS_A_TRANSACTION,
    TEXTS_A_REQUEST,
    TOKENS_PER_MINUTE,
    CatalogueSong,
    Job,
    Meter,
    Texts,
    packs_of,
)

MAX_TRIES = 5
SECONDS_BETWEEN_LOOKS = 0.001
SECONDS_AFTER_RATE_LIMIT = 15.0


@dataclass(slots=True)
class _Status:
    in_progress: int = 0
    rate_limited_at: float = 0.0


@dataclass(slots=True)
class _Request:
    number: int
    body: dict[str, Any]
    tokens: int
    tries_left: int = MAX_TRIES
    errors: list[Any] = field(default_factory=list)

    async def call(
        self,
        session: aiohttp.ClientSession,
        url: str,
        again: "asyncio.Queue[_Request]",
        answers: Path,
        status: _Status,
    ) -> None:
        answer: Any
        try:
            async with session.post(
                url, headers={"Authorization": "Bearer benchmark"}, json=self.body
            ) as reply:
                answer = await reply.json()
            if "error" in answer:
                self.errors.append(answer)
                if "rate limit" in answer["error"].get("message", "").lower():
                    status.rate_limited_at = time.time()
        except (aiohttp.ClientError, ValueError) as error:
            answer = {"error": str(error)}
            self.errors.append(answer)
        if "error" in answer and self.tries_left:
            again.put_nowait(self)
            return
        _append(answers, [self.number, self.body, self.errors if "error" in answer else answer])
        status.in_progress -= 1


async def _process(requests: Path, answers: Path, url: str) -> None:
    """Send the requests of a file, each line a body, and append [number, request, answer] to another."""
    again: asyncio.Queue[_Request] = asyncio.Queue()
    status = _Status()
    allowed_requests, allowed_tokens = float(REQUESTS_PER_MINUTE), float(TOKENS_PER_MINUTE)
    updated_at = time.time()
    following: _Request | None = None
    calls: set[asyncio.Task[None]] = set()
    with requests.open(encoding="utf-8") as lines:
        numbered: Iterator[tuple[int, str]] = enumerate(lines)
        at_end = False
        async with aiohttp.ClientSession() as session:
            while True:
                if following is None:
                    if not again.empty():
                        following = again.get_nowait()
                    elif not at_end:
                        number, line = next(numbered, (-1, ""))
                        at_end = not line
                        if line:
                            body = json.loads(line)
                            following = _Request(number, body, _tokens(body))
                            status.in_progress += 1
                now = time.time()
                passed, updated_at = now - updated_at, now
                allowed_requests = min(
                    allowed_requests + REQUESTS_PER_MINUTE * passed / 60, REQUESTS_PER_MINUTE
                )
                allowed_tokens = min(allowed_tokens + TOKENS_PER_MINUTE * passed / 60, TOKENS_PER_MINUTE)
                if following and allowed_requests >= 1 and allowed_tokens >= following.tokens:
                    allowed_requests -= 1
                    allowed_tokens -= following.tokens
                    following.tries_left -= 1
                    call = asyncio.create_task(following.call(session, url, again, answers, status))
                    calls.add(call)
                    call.add_done_callback(calls.discard)
                    following = None
                if not status.in_progress:
                    return
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
                since_rate_limit = time.time() - status.rate_limited_at
                if since_rate_limit < SECONDS_AFTER_RATE_LIMIT:
                    await asyncio.sleep(SECONDS_AFTER_RATE_LIMIT - since_rate_limit)


def _tokens(body: dict[str, Any]) -> int:
    texts = body.get("input") or [message["content"] for message in body["messages"]]
    return sum(map(len, texts)) // 4


def _append(file: Path, data: Any) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(data) + "\n")


def run(job: Job, songs: list[CatalogueSong], meter: Meter) -> None:
    """Generate, embed and insert, one after the other, with files between."""
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        with meter.stage("chat"):
            written = _generate(job, songs, files)
        with meter.stage("embedding"):
            vectors = _embed(job, written, files)
        with psycopg.connect(job.service_url) as connection, meter.stage("insert"):
            rows = [
                (
                    song.song_id,
                    song.emotions,
                    song.emotions_confidence,
                    str(vectors[2 * number]),
                    song.moments,
                    song.moments_confidence,
                    str(vectors[2 * number + 1]),
                )
                for number, song in enumerate(written)
            ]
            for at in range(0, len(rows), ROWS_A_TRANSACTION):
                with connection.transaction():
                    connection.cursor().executemany(INSERT, rows[at : at + ROWS_A_TRANSACTION])


def _generate(job: Job, songs: list[CatalogueSong], files: Path) -> list[Texts]:
    packs = packs_of(songs)
    bodies = (
        {
            "model": job.chat_model,
            "messages": job.messages(pack),
            "response_format": job.response_format,
            "reasoning_effort": "none",
        }
        for pack in packs
    )
    written = []
    for number, answer in _answers(bodies, f"{job.base_url}/chat/completions", files, "chat"):
        entries = json.loads(answer["choices"][0]["message"]["content"])["songs"]
        written += [Texts.of(song, entries[str(key)]) for key, song in enumerate(packs[number], start=1)]
    return written


def _embed(job: Job, written: list[Texts], files: Path) -> list[list[float]]:
    texts = [text for song in written for text in (song.emotions, song.moments)]
    bodies = (
        {"model": job.embedding_model, "input": texts[at : at + TEXTS_A_REQUEST]}
        for at in range(0, len(texts), TEXTS_A_REQUEST)
    )
    answers = dict(_answers(bodies, f"{job.base_url}/embeddings", files, "embeddings"))
    return [item["embedding"] for number in sorted(answers) for item in answers[number]["data"]]


def _answers(
    bodies: Iterable[dict[str, Any]], url: str, files: Path, name: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The answers to requests, by number, through the files."""
    requests, answers = files / f"{name}.jsonl", files / f"{name}_results.jsonl"
    requests.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    asyncio.run(_process(requests, answers, url))
    with answers.open(encoding="utf-8") as lines:
        for line in lines:
            number, _, answer = json.loads(line)
            yield number, answer

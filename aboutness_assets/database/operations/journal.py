"""The journal: every chat request before it is sent, every answer before it is read.

What was answered and not settled has been paid for and not used; the next run uses it first, at no cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import RequestKind, Song, SongId

KEEP_DAYS = 30
"""Settled entries older than this are trimmed at the end of a run."""

KEEP_ENTRIES = 250_000
"""Settled entries are kept among so many last ones: about 4 KB each with a pack of 10, about 1 GB in all."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that was paid for in an earlier run: the songs in the order of its keys, and the raw body."""

    request_id: int
    songs: tuple[Song, ...]
    answer: bytes


@dataclass(frozen=True, slots=True)
class Indeterminate:
    """Requests that were in flight when a run died: they may have been paid for, up to max_usd_estimate."""

    requests: int
    max_usd_estimate: float


class Journal:
    """The journal of one run over one range."""

    def __init__(
        self,
        operations: Operations,
        *,
        table_id: str,
        budget: str,
        run_id: str,
        range_key: str,
        integer_ids: bool,
        max_usd: float | None,
    ) -> None:
        self._operations = operations
        self._integer_ids = integer_ids
        self._table_id = table_id
        self._budget = budget
        self._run_id = run_id
        self._range_key = range_key
        self._max_usd = max_usd

    async def intend(
        self,
        songs: Sequence[Song],
        kind: RequestKind,
        *,
        model: str,
        prompt_hash: str,
        max_usd_estimate: float | None,
    ) -> int:
        """Record that a request is about to be sent; returns its request_id.

        max_usd_estimate: for the request and the embedding of its texts; None where a price is unknown.
        Raises FatalError when the request could take the spending over ABOUTNESS_MAX_USD, or when the
        intent cannot be recorded: the request is not to be sent then.
        """
        song_ids = [str(song.song_id) for song in songs]

        async def record(connection: AsyncConnection, again: bool) -> int:
            if again and (recorded := await self._open_intent(connection, song_ids)) is not None:
                return recorded
            if self._max_usd is not None:
                await self._reserve(connection, max_usd_estimate)
            cursor = await connection.execute(
                "insert into aboutness_ops.chat_request"
                " (table_id, budget, run_id, range_key, kind,"
                " song_ids, songs, model, prompt_hash, max_usd_estimate)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning request_id",
                [
                    self._table_id,
                    self._budget,
                    self._run_id,
                    self._range_key,
                    kind,
                    song_ids,
                    Jsonb([[song.title, song.artist] for song in songs]),
                    model,
                    prompt_hash,
                    max_usd_estimate,
                ],
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])

        return await self._operations.write(record)

    async def answered(
        self,
        request_id: int,
        answer: bytes,
        usage: Usage,
        usd: float | None,
        *,
        usd_to_come: float | None,
    ) -> None:
        """Keep the raw answer of a request and what it used and cost, before anything is done with it.

        usd_to_come: what stays reserved of its max_usd_estimate, for the embedding of its texts.
        A run that is stopped meanwhile still keeps it. Raises FatalError when it cannot be kept.
        """

        async def record(connection: AsyncConnection, again: bool) -> None:
            cursor = await connection.execute(
                "update aboutness_ops.chat_request set answered_at = clock_timestamp(), answer = %s,"
                " prompt_tokens = %s, cached_tokens = %s, completion_tokens = %s, usd = %s"
                " where request_id = %s and answered_at is null returning max_usd_estimate",
                [
                    answer,
                    usage.prompt_tokens,
                    usage.cached_tokens,
                    usage.completion_tokens,
                    usd,
                    request_id,
                ],
            )
            row = await cursor.fetchone()
            if self._max_usd is not None and row is not None:
                await self._spend(connection, (usd or 0.0) + (usd_to_come or 0.0) - float(row[0] or 0.0))

        await _finish_despite_cancellation(self._operations.write(record))

    async def unanswered(self, request_id: int, *, maybe_paid: bool) -> None:
        """Settle a request that was given up without an answer; maybe_paid when it may have been billed."""

        async def record(connection: AsyncConnection, again: bool) -> None:
            cursor = await connection.execute(
                "update aboutness_ops.chat_request set settled_at = clock_timestamp(), outcome = %s"
                " where request_id = %s and settled_at is null returning max_usd_estimate",
                ["indeterminate" if maybe_paid else "no_answer", request_id],
            )
            row = await cursor.fetchone()
            if self._max_usd is not None and row is not None and not maybe_paid:
                await self._spend(connection, -float(row[0] or 0.0))

        await self._operations.write(record)

    async def settle(self, request_ids: Sequence[int]) -> None:
        """Mark answers as used: every song that they serve has its row."""

        async def record(connection: AsyncConnection, again: bool) -> None:
            await connection.execute(
                "update aboutness_ops.chat_request set settled_at = clock_timestamp(), outcome = 'used'"
                " where request_id = any(%s)",
                [list(request_ids)],
            )

        await self._operations.write(record)

    async def kept_answers(self, songs: Sequence[Song]) -> list[KeptAnswer]:
        """Answers of earlier runs to any of these songs that are paid for and not used, oldest first."""
        return await self._kept("song_ids && %s", [str(song.song_id) for song in songs])

    async def kept_answers_of_range(self) -> list[KeptAnswer]:
        """Answers of earlier runs over this range that are paid for and not settled, oldest first."""
        return await self._kept("range_key = %s", self._range_key)

    async def answers(self, request_ids: Sequence[int]) -> list[KeptAnswer]:
        """The answers to these requests, settled or not, unless trimmed by now; oldest first."""
        return await self._select("request_id = any(%s)", list(request_ids))

    async def _kept(self, condition: LiteralString, parameter: str | list[str]) -> list[KeptAnswer]:
        return await self._select("settled_at is null and " + condition, parameter)

    async def _select(
        self, condition: LiteralString, parameter: str | list[str] | list[int]
    ) -> list[KeptAnswer]:
        async def select(connection: AsyncConnection, again: bool) -> list[tuple[Any, ...]]:
            cursor = await connection.execute(
                "select request_id, song_ids, songs, answer from aboutness_ops.chat_request"
                " where table_id = %s and answered_at is not null and run_id <> %s"
                f" and {condition} order by request_id",
                [self._table_id, self._run_id, parameter],
            )
            return await cursor.fetchall()

        return [
            KeptAnswer(
                request_id,
                tuple(
                    Song(self._song_id(song_id), title, artist)
                    for song_id, (title, artist) in zip(song_ids, titles, strict=True)
                ),
                bytes(answer),
            )
            for request_id, song_ids, titles, answer in await self._operations.query(select)
        ]

    async def settle_orphaned_requests(self) -> Indeterminate:
        """Settle the requests of this range that were in flight when an earlier run died, and count them.

        To be called by the holder of the range's lock only: nobody else can have one in flight then.
        """

        async def bury(connection: AsyncConnection, again: bool) -> Indeterminate:
            cursor = await connection.execute(
                "with dead as (update aboutness_ops.chat_request"
                " set settled_at = clock_timestamp(), outcome = 'indeterminate'"
                " where table_id = %s and range_key = %s and settled_at is null and answered_at is null"
                " returning max_usd_estimate)"
                " select count(*), coalesce(sum(max_usd_estimate), 0) from dead",
                [self._table_id, self._range_key],
            )
            row = await cursor.fetchone()
            assert row is not None
            return Indeterminate(int(row[0]), float(row[1]))

        return await self._operations.query(bury)

    async def _open_intent(self, connection: AsyncConnection, song_ids: list[str]) -> int | None:
        """This run's intent for these songs that has no answer; no run has two at once."""
        cursor = await connection.execute(
            "select request_id from aboutness_ops.chat_request where table_id = %s and range_key = %s"
            " and settled_at is null and answered_at is null and run_id = %s and song_ids = %s",
            [self._table_id, self._range_key, self._run_id, song_ids],
        )
        row = await cursor.fetchone()
        return None if row is None else int(row[0])

    async def _reserve(self, connection: AsyncConnection, max_usd_estimate: float | None) -> None:
        if max_usd_estimate is None:
            raise FatalError(
                "ABOUTNESS_MAX_USD is set, but the price of ABOUTNESS_CHAT_MODEL or of "
                "ABOUTNESS_EMBEDDING_MODEL is not known, so the cap cannot be kept. "
                "Choose models with known prices or unset the cap."
            )
        await self._spend(connection, max_usd_estimate)
        cursor = await connection.execute(
            "select usd from aboutness_ops.spend where budget = %s", [self._budget]
        )
        row = await cursor.fetchone()
        if row is not None and float(row[0]) > float(self._max_usd or 0.0):
            raise FatalError(
                f"The next request could take this backfill over ABOUTNESS_MAX_USD = {self._max_usd} "
                f"(spent or reserved so far: {float(row[0]) - max_usd_estimate:.4f} dollars). "
                "What is paid for is kept. Raise the cap and run the failed partitions again to go on."
            )

    async def _spend(self, connection: AsyncConnection, usd: float) -> None:
        await connection.execute(
            "insert into aboutness_ops.spend (budget, usd) values (%s, %s)"
            " on conflict (budget) do update set usd = spend.usd + excluded.usd",
            [self._budget, usd],
        )

    def _song_id(self, song_id: str) -> SongId:
        return int(song_id) if self._integer_ids else song_id


async def trim(operations: Operations) -> int:
    """Delete settled entries that are too old or too many; returns how many."""

    async def delete(connection: AsyncConnection, again: bool) -> int:
        cursor = await connection.execute(
            "delete from aboutness_ops.chat_request where settled_at < now() - make_interval(days => %s)"
            " or settled_at is not null and request_id <="
            " (select max(request_id) - %s from aboutness_ops.chat_request)",
            [KEEP_DAYS, KEEP_ENTRIES],
        )
        return cursor.rowcount

    return await operations.query(delete)


async def _finish_despite_cancellation(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end, and only then be cancelled; a second cancel is obeyed at once."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise

"""The journal: every chat request before it is sent, every answer before it is read.

What was answered and not settled has been paid for and not used; the next run uses it first, at no cost.
What each request costs stands in the ledger, which the same transactions keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.ledger import PostgresLedger, closing_parameters
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import IdType, RequestKind, Song, song_id_of
from aboutness_assets.money.ledger import Charge, Outcome, Spending

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
class Orphaned:
    """Requests that were in flight when a run died: they may have been billed, up to max_usd."""

    requests: int
    max_usd: float


@dataclass(frozen=True, slots=True)
class Intent:
    """A chat request on record, about to be sent for the first time."""

    request_id: int
    attempt_id: int


class Journal:
    """The journal of one run over one range, and the chat part of its ledger."""

    def __init__(
        self,
        operations: Operations,
        run: RangeRun,
        id_type: IdType,
        ledger: PostgresLedger,
        request_ids: IdBlocks,
    ) -> None:
        self._operations = operations
        self._run = run
        self._id_type: IdType = id_type
        self._ledger = ledger
        self._request_ids = request_ids

    async def intend(
        self,
        songs: Sequence[Song],
        kind: RequestKind,
        charge: Charge,
        *,
        prompt_hash: str,
        reasoning_effort: str,
        promised_usd: float,
    ) -> Intent | None:
        """Record that a request is about to be sent; None where the budget's cap forbids it.

        reasoning_effort: as set, '' where none is sent. promised_usd: reserved, beside the charge, for the
        embedding of its texts.
        Raises FatalError when it cannot be recorded: the request is not to be sent then.
        """
        intent = Intent(await self._request_ids.draw(), await self._ledger.attempt_ids.draw())
        run = self._run
        parameters = [
            *(intent.attempt_id, intent.request_id, run.table_id, run.budget, run.run_id, run.range_key),
            *(kind, [str(song.song_id) for song in songs]),
            *(Jsonb([[song.title, song.artist] for song in songs]), prompt_hash, reasoning_effort),
            *(charge.model, charge.tier, charge.max_usd, promised_usd, self._ledger.max_usd),
        ]

        async def record(connection: AsyncConnection) -> bool:
            cursor = await connection.execute(
                "select aboutness_ops.open_chat_request(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
                " %s::numeric, %s::numeric, %s::numeric)",
                parameters,
            )
            row = await cursor.fetchone()
            return row is not None and bool(row[0])

        return intent if await self._operations.write(record) else None

    async def answered(self, request_id: int, attempt_id: int, answer: bytes, outcome: Outcome) -> Spending:
        """Keep the raw answer of a request and what it cost, before anything is done with it.

        Goes on when its caller is cancelled. Raises FatalError when it cannot be kept.
        """

        async def record(connection: AsyncConnection) -> Spending:
            cursor = connection.cursor(row_factory=class_row(Spending))
            await cursor.execute(
                "select billed_usd::float8, uncertain_usd::float8, reserved_usd::float8"
                " from aboutness_ops.keep_answer(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::numeric)",
                [request_id, answer, *closing_parameters(attempt_id, outcome)],
            )
            spending = await cursor.fetchone()
            assert spending is not None
            return spending

        return await self._operations.write(record)

    async def unanswered(self, request_id: int, *, maybe_billed: bool) -> None:
        """Settle a request that was given up without an answer; maybe_billed when it may have been billed."""

        async def record(connection: AsyncConnection) -> None:
            await connection.execute("select aboutness_ops.release_promises(%s)", [[request_id]])
            await connection.execute(
                "update aboutness_ops.chat_request set settled_at = clock_timestamp(), outcome = %s"
                " where request_id = %s and settled_at is null",
                ["uncertain" if maybe_billed else "no_answer", request_id],
            )

        await self._operations.write(record)

    async def settle(self, request_ids: Sequence[int]) -> None:
        """Mark answers as used: every song that they serve has its row."""

        async def record(connection: AsyncConnection) -> None:
            await connection.execute("select aboutness_ops.release_promises(%s)", [list(request_ids)])
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
        return await self._kept("range_key = %s", self._run.range_key)

    async def answers(self, request_ids: Sequence[int]) -> list[KeptAnswer]:
        """The answers to these requests, settled or not, unless trimmed by now; oldest first."""
        return await self._select("request_id = any(%s)", list(request_ids))

    async def settle_orphaned_requests(self) -> Orphaned:
        """Settle the requests of this range that were in flight when an earlier run died, and count them.

        To be called by the holder of the range's lock only: nobody else can have one in flight then.
        """
        where = {
            "table_id": self._run.table_id,
            "range_key": self._run.range_key,
            "run_id": self._run.run_id,
        }

        async def settle(connection: AsyncConnection) -> Orphaned:
            await connection.execute(
                "select aboutness_ops.release_promises(array_agg(request_id)) from aboutness_ops.chat_request"
                " where table_id = %(table_id)s and range_key = %(range_key)s and settled_at is null"
                " and answered_at is null",
                where,
            )
            await connection.execute(
                "update aboutness_ops.chat_request"
                " set settled_at = clock_timestamp(), outcome = 'uncertain'"
                " where table_id = %(table_id)s and range_key = %(range_key)s and settled_at is null"
                " and answered_at is null",
                where,
            )
            # A try whose commit went unheard is counted again, not as nothing: its rows bear this run's id.
            cursor = await connection.execute(
                "select count(*), coalesce(sum(max_usd), 0)::float8 from aboutness_ops.orphaned_attempts("
                "%(table_id)s, %(range_key)s, %(run_id)s)",
                where,
            )
            row = await cursor.fetchone()
            assert row is not None
            return Orphaned(int(row[0]), float(row[1]))

        return await self._operations.transact(settle)

    async def _kept(self, condition: LiteralString, parameter: str | list[str]) -> list[KeptAnswer]:
        return await self._select("settled_at is null and " + condition, parameter)

    async def _select(
        self, condition: LiteralString, parameter: str | list[str] | list[int]
    ) -> list[KeptAnswer]:
        async def select(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            cursor = await connection.execute(
                "select request_id, song_ids, songs, answer from aboutness_ops.chat_request"
                " where table_id = %s and answered_at is not null and run_id <> %s"
                f" and {condition} order by request_id",
                [self._run.table_id, self._run.run_id, parameter],
            )
            return await cursor.fetchall()

        return [
            KeptAnswer(
                request_id,
                tuple(
                    Song(song_id_of(song_id, self._id_type), title, artist)
                    for song_id, (title, artist) in zip(song_ids, titles, strict=True)
                ),
                bytes(answer),
            )
            for request_id, song_ids, titles, answer in await self._operations.query(select)
        ]


async def trim(
    operations: Operations, *, keep_days: int = KEEP_DAYS, keep_entries: int = KEEP_ENTRIES
) -> int:
    """Delete settled entries that are too old or too many; returns how many. The ledger keeps their cost."""

    async def delete(connection: AsyncConnection) -> int:
        cursor = await connection.execute(
            "delete from aboutness_ops.chat_request where settled_at < now() - make_interval(days => %s)"
            " or settled_at is not null and request_id <="
            " (select max(request_id) - %s from aboutness_ops.chat_request)",
            [keep_days, keep_entries],
        )
        return cursor.rowcount

    return await operations.query(delete)

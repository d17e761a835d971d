"""Failed songs, one row each, in our own schema: why, how often and since when they failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import AsyncConnection
from psycopg.rows import class_row

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import Cause, FailedSong, Song, SongId

COUNTED_AT_ONCE: frozenset[Cause] = frozenset({"nothing_known", "insert"})
"""Causes in which no provider has a part. Others count as an attempt once the provider has been judged, and
an outage never does."""


@dataclass(frozen=True, slots=True)
class FailedSongRecord:
    """What is on record about one failed song; attempts: runs in which it failed by its own fault."""

    song_id: str
    cause: Cause
    reason: str
    attempts: int
    quarantined: bool
    range_key: str
    run_id: str
    request_ids: list[int]
    last_failed_at: datetime


class FailedSongs:
    """The failed songs of one table, as one run over one range sees and records them.

    A song that has failed in ``quarantine_after`` runs is not paid for again until it is released.
    """

    def __init__(self, operations: Operations, range_run: RangeRun, *, quarantine_after: int) -> None:
        self._operations = operations
        self._range_run = range_run
        self._quarantine_after = quarantine_after

    async def record(self, failures: Sequence[FailedSong], request_ids: Sequence[int]) -> None:
        """Record that songs failed in this run; a second record of a song in one run changes nothing.

        request_ids: the requests whose answers failed them. Only causes COUNTED_AT_ONCE count as an attempt.
        """

        async def record(connection: AsyncConnection) -> None:
            await connection.cursor().executemany(
                "insert into aboutness_ops.failed_song as known"
                " (table_id, song_id, cause, reason, attempts, quarantined, request_ids, run_id, range_key)"
                " values (%(table_id)s, %(song_id)s, %(cause)s, %(reason)s, %(counts)s,"
                " %(counts)s >= %(limit)s, %(request_ids)s, %(run_id)s, %(range_key)s)"
                " on conflict (table_id, song_id) do update set cause = excluded.cause,"
                " reason = excluded.reason, run_id = excluded.run_id, range_key = excluded.range_key,"
                " request_ids = known.request_ids || excluded.request_ids,"
                " attempts = known.attempts + excluded.attempts,"
                " quarantined = known.attempts + excluded.attempts >= %(limit)s,"
                " last_failed_at = clock_timestamp()"
                " where known.run_id <> excluded.run_id",
                [
                    {
                        "table_id": self._range_run.table_id,
                        "song_id": str(failure.song_id),
                        "cause": failure.cause,
                        "reason": failure.reason,
                        "counts": int(failure.cause in COUNTED_AT_ONCE),
                        "limit": self._quarantine_after,
                        "request_ids": list(request_ids),
                        "run_id": self._range_run.run_id,
                        "range_key": self._range_run.range_key,
                    }
                    for failure in failures
                ],
            )

        await self._operations.transact(record)

    async def count_attempts(self, song_ids: Collection[SongId]) -> None:
        """Count this run as an attempt of songs that failed in it by their own fault, once."""

        async def count(connection: AsyncConnection) -> None:
            await connection.execute(
                "update aboutness_ops.failed_song set attempts = attempts + 1,"
                " quarantined = attempts + 1 >= %(limit)s, counted_in = run_id"
                " where table_id = %(table_id)s and song_id = any(%(song_ids)s) and run_id = %(run_id)s"
                " and counted_in is distinct from run_id",
                {
                    "table_id": self._range_run.table_id,
                    "song_ids": [str(song_id) for song_id in song_ids],
                    "run_id": self._range_run.run_id,
                    "limit": self._quarantine_after,
                },
            )

        await self._operations.query(count)

    async def among(self, songs: Sequence[Song]) -> dict[str, FailedSongRecord]:
        """What is on record about these songs, by song_id as text."""
        records = await self._select("song_id = any(%s)", [[str(song.song_id) for song in songs]])
        return {record.song_id: record for record in records}

    async def latest(self, limit: int) -> list[FailedSongRecord]:
        """The songs that failed last, at most ``limit``."""
        return await self._select("true order by last_failed_at desc, song_id limit %s", [limit])

    async def count_by_cause(self) -> dict[str, int]:
        """How many songs are on record for each cause."""

        async def count(connection: AsyncConnection) -> dict[str, int]:
            cursor = await connection.execute(
                "select cause, count(*) from aboutness_ops.failed_song where table_id = %s"
                " group by cause order by cause",
                [self._range_run.table_id],
            )
            return dict(await cursor.fetchall())

        return await self._operations.query(count)

    async def count_quarantined(self) -> int:
        """How many songs are in quarantine."""

        async def count(connection: AsyncConnection) -> int:
            cursor = await connection.execute(
                "select count(*) from aboutness_ops.failed_song where table_id = %s and quarantined",
                [self._range_run.table_id],
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])

        return await self._operations.query(count)

    async def forget(self, song_ids: Collection[SongId]) -> None:
        """Delete songs from the record: they have their rows now."""

        async def delete(connection: AsyncConnection) -> None:
            await connection.execute(
                "delete from aboutness_ops.failed_song where table_id = %s and song_id = any(%s)",
                [self._range_run.table_id, [str(song_id) for song_id in song_ids]],
            )

        await self._operations.query(delete)

    async def release(self, *, cause: str | None, song_ids: Sequence[str]) -> list[str]:
        """Let chosen songs be tried again: by id, by cause, or all; returns their ids in order."""

        async def update(connection: AsyncConnection) -> list[str]:
            cursor = await connection.execute(
                "update aboutness_ops.failed_song set attempts = 0, quarantined = false where table_id = %s"
                " and (%s::text is null or cause = %s) and (%s::text[] = '{}' or song_id = any(%s))"
                " returning song_id",
                [self._range_run.table_id, cause, cause, list(song_ids), list(song_ids)],
            )
            return sorted(song_id for (song_id,) in await cursor.fetchall())

        return await self._operations.query(update)

    async def _select(self, rest: LiteralString, parameters: Sequence[object]) -> list[FailedSongRecord]:
        async def select(connection: AsyncConnection) -> list[FailedSongRecord]:
            cursor = connection.cursor(row_factory=class_row(FailedSongRecord))
            await cursor.execute(
                "select song_id, cause, reason, attempts, quarantined, range_key, run_id, request_ids,"
                " last_failed_at"
                " from aboutness_ops.failed_song where table_id = %s and " + rest,
                [self._range_run.table_id, *parameters],
            )
            return await cursor.fetchall()

        return await self._operations.query(select)

"""Inserting rows into the service's song_aboutness, and finding rows in it by song_id.

Whether the table is as agreed is table_schema.py's, the acceptance criteria in SQL are row_criteria.py's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import AsyncConnection, errors, sql
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.service.confidence_labels import AS_THEY_ARE, Labels
from aboutness_assets.database.service.id_columns import is_one_of
from aboutness_assets.database.service.vectors import VectorKind, encode, register, size_function
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import Aboutness, FailedSong, IdType, SongId, song_id_of

_INSERT: LiteralString = (
    "insert into song_aboutness (song_id, emotions_text, emotions_confidence, emotions_vector,"
    " moments_text, moments_confidence, moments_vector)"
    " values (%s, %s, %s, %s, %s, %s, %s)"
)


@dataclass(frozen=True, slots=True)
class InsertRetry:
    """How a transaction is tried again when Postgres goes away; waiting for a turn is not an attempt.

    attempts: at most, in all; the default's six have waits of 31 s between them. seconds: no attempt begins
    later than this after the first one failed. first_wait_seconds: before the second attempt; doubled each
    time.
    """

    attempts: int = 6
    seconds: float = 60.0
    first_wait_seconds: float = 1.0


DEFAULT_INSERT_RETRY = InsertRetry()


@dataclass(frozen=True, slots=True)
class Row:
    """One row to insert; both vectors float32 of shape (dimension,)."""

    song_id: SongId
    aboutness: Aboutness
    emotions_vector: NDArray[np.float32]
    moments_vector: NDArray[np.float32]


@dataclass(slots=True)
class Inserted:
    """What became of the rows of one call: how many were written, how many were there, which were refused."""

    written: int = 0
    already_there: int = 0
    failed: list[FailedSong] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AboutnessTable:
    """song_aboutness as it is in the service's database.

    table_id names the table in our own records: database, schema and oid. vector_oid is the vector columns'
    type in pg_type, vector_schema the schema of it. dimension, in numbers per vector, is None where neither
    the columns (arrays, a bare vector), nor their CHECKs, nor a row say it. confidence_labels: what is
    written for each confidence.
    """

    table_id: str
    id_type: IdType
    vector_kind: VectorKind
    vector_oid: int
    vector_schema: str
    dimension: int | None
    confidence_labels: Labels = field(default_factory=lambda: AS_THEY_ARE)
    retry: InsertRetry = DEFAULT_INSERT_RETRY

    @property
    def vector_size(self) -> sql.Composable:
        """The SQL function that counts the numbers of a vector of this table."""
        return size_function(self.vector_kind, self.vector_schema)

    def among(self, song_ids: Collection[SongId]) -> sql.Composable:
        """The SQL condition that a row is of one of these songs, found by primary key."""
        return is_one_of(song_ids, self.id_type)

    async def insert(self, pool: AsyncConnectionPool, rows: Sequence[Row], log: logging.Logger) -> Inserted:
        """Insert rows, in one transaction where Postgres takes them all; a row that exists stays as it is.

        Rows that Postgres refuses are halved until the refused ones are alone: those are left out and
        reported, the others are written. A lost connection is tried again.
        Raises FatalError when no row can be written (rights, table, columns, disk, Postgres away).
        """
        try:
            return await self._in_one_transaction(pool, rows, log)
        except (errors.DataError, errors.IntegrityError, errors.RaiseException) as refused:
            if len(rows) == 1:
                reason = f"Postgres refused the row: {postgres_message(refused)}"
                return Inserted(failed=[FailedSong(rows[0].song_id, "insert", reason)])
        middle = len(rows) // 2
        first = await self.insert(pool, rows[:middle], log)
        second = await self.insert(pool, rows[middle:], log)
        return Inserted(
            written=first.written + second.written,
            already_there=first.already_there + second.already_there,
            failed=first.failed + second.failed,
        )

    async def existing(self, pool: AsyncConnectionPool, song_ids: Collection[SongId]) -> set[SongId]:
        """Which of these songs have a row."""
        query = sql.SQL("select song_id from song_aboutness where {}").format(self.among(song_ids))
        async with pool.connection() as connection:
            cursor = await connection.execute(query)
            return {song_id_of(song_id, self.id_type) for (song_id,) in await cursor.fetchall()}

    async def insert_into(
        self,
        connection: AsyncConnection,
        rows: Sequence[Row],
        on_conflict: LiteralString = " on conflict do nothing",
    ) -> int:
        """Insert rows within the caller's transaction; how many Postgres says were written.

        The one statement that writes to song_aboutness. Raises psycopg.Error.
        """
        register(connection, self.vector_oid)
        cursor = connection.cursor()
        await cursor.executemany(_INSERT + on_conflict, [self._parameters(row) for row in rows])
        return max(cursor.rowcount, 0)

    async def _in_one_transaction(
        self, pool: AsyncConnectionPool, rows: Sequence[Row], log: logging.Logger
    ) -> Inserted:
        deadline = math.inf
        attempt = 1
        while True:
            try:
                # The URL may ask to wait for Postgres indefinitely; an insert does not.
                seconds = min(pool.timeout, self.retry.seconds)
                async with pool.connection(seconds) as connection, connection.transaction():
                    written = await self.insert_into(connection, rows)
                    return Inserted(written=written, already_there=len(rows) - written)
            except (errors.DataError, errors.IntegrityError, errors.RaiseException):
                raise
            except psycopg.OperationalError as lost:
                now = time.monotonic()
                deadline = min(deadline, now + self.retry.seconds)
                wait = self.retry.first_wait_seconds * 2 ** (attempt - 1)
                if attempt >= self.retry.attempts or now + wait > deadline:
                    raise FatalError(
                        f"The service's Postgres (DATABASE_URL) did not take rows (attempt {attempt}, the "
                        f"last): {postgres_message(lost)}. The answers are kept; run the partition again "
                        "when it is back."
                    ) from lost
                log.warning("Inserting failed (%s); next attempt in %.0f s.", postgres_message(lost), wait)
            except psycopg.Error as fault:
                raise FatalError(
                    f"No row can be inserted into song_aboutness: {postgres_message(fault)}. "
                    "docs/operating.md says which rights are needed."
                ) from fault
            await asyncio.sleep(wait)
            attempt += 1

    def _parameters(self, row: Row) -> list[Any]:
        about, labels = row.aboutness, self.confidence_labels
        return [
            row.song_id,
            about.emotions_text,
            labels[about.emotions_confidence],
            encode(row.emotions_vector, self.vector_kind),
            about.moments_text,
            labels[about.moments_confidence],
            encode(row.moments_vector, self.vector_kind),
        ]

"""Inserting rows into the service's song_aboutness, and finding rows in it by song_id.

Whether the table is as agreed is table_schema.py's, the acceptance criteria in SQL are row_criteria.py's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import AsyncConnection, errors, sql
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.service.confidence_labels import AS_THEY_ARE, Labels
from aboutness_assets.database.service.connection import keep_short
from aboutness_assets.database.service.id_columns import CASTS, is_one_of
from aboutness_assets.database.service.table_identity import TableIdentity
from aboutness_assets.database.service.vectors import VectorKind, encode, register, size_function
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import Aboutness, IdType, SongId, song_id_of

_INSERT: LiteralString = (
    "insert into song_aboutness (song_id, emotions_text, emotions_confidence, emotions_vector,"
    " moments_text, moments_confidence, moments_vector)"
    " values (%s, %s, %s, %s, %s, %s, %s)"
)

_ABOUT_THE_TABLE = frozenset(
    "08 0A 0B 0L 0P 24 25 26 28 34 3B 3D 3F 42 53 54 55 57 58 72 F0 HV XX".split()  # noqa: SIM905
)
"""Classes of SQLSTATE that speak of the table, the role or the session (appendix A of Postgres' manual). All
others are about what a row holds: its data, constraints, and whatever codes a trigger raises."""

_FOREIGN_CHARACTERS = ("22021", "22P05")
"""SQLSTATEs of a text with a character that the server's encoding lacks."""

_TOO_LONG = "22001"
"""SQLSTATE of a text that is too long for its column."""

NOT_THERE = ""
"""Stands for the SQLSTATE where Postgres accepted a row without an error and the row is not in the table."""

_NOT_THERE_REASON = (
    "Postgres accepted the row without an error, but it is not in song_aboutness: a trigger or a rule drops "
    "it, a unique constraint on other columns keeps it out, or row-level security hides it from the role."
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


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that Postgres did not take: the SQLSTATE (or NOT_THERE), and why, in one sentence."""

    song_id: SongId
    sqlstate: str
    reason: str

    @property
    def has_foreign_characters(self) -> bool:
        """Whether the server's encoding lacks a character of its texts."""
        return self.sqlstate in _FOREIGN_CHARACTERS

    @property
    def text_does_not_fit(self) -> bool:
        """Whether another text for the song may be taken, and this one never will."""
        return self.has_foreign_characters or self.sqlstate == _TOO_LONG


@dataclass(slots=True)
class Inserted:
    """What became of the rows of one call; ``written`` and ``already_there`` were seen in the table.

    seconds: that the transactions took which were committed, without the wait for their turn.
    """

    written: int = 0
    already_there: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    seconds: float = field(default=0.0, compare=False)


class _RowRefused(Exception):
    """Postgres refuses one of the rows of a transaction, or several."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class _RowsNotThere(Exception):
    """Rows that are not in the table after they were inserted; the transaction is rolled back."""

    def __init__(self, song_ids: set[str]) -> None:
        super().__init__()
        self.song_ids = song_ids


@dataclass(frozen=True, slots=True)
class AboutnessTable:
    """song_aboutness as it is in the service's database.

    identity names the table in our own records. vector_oid is the vector columns' type
    in pg_type, vector_schema the schema of it. dimension, in numbers per vector, is None where neither
    the columns (arrays, a bare vector), nor their CHECKs, nor a row say it. confidence_labels: what is
    written for each confidence.
    """

    identity: TableIdentity
    id_type: IdType
    vector_kind: VectorKind
    vector_oid: int
    vector_schema: str
    dimension: int | None
    confidence_labels: Labels = field(default_factory=lambda: AS_THEY_ARE)
    retry: InsertRetry = DEFAULT_INSERT_RETRY

    @property
    def table_id(self) -> str:
        """What the table is called in our own records."""
        return self.identity.table_id

    @property
    def vector_size(self) -> sql.Composable:
        """The SQL function that counts the numbers of a vector of this table."""
        return size_function(self.vector_kind, self.vector_schema)

    def among(self, song_ids: Collection[SongId]) -> sql.Composable:
        """The SQL condition that a row is of one of these songs, found by primary key."""
        return is_one_of(song_ids, self.id_type)

    async def insert(
        self,
        pool: AsyncConnectionPool,
        rows: Sequence[Row],
        log: logging.Logger,
        while_held: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
    ) -> Inserted:
        """Insert rows, in one transaction where Postgres takes them all; a row that exists stays as it is.

        while_held: what each transaction takes place in; begun again where it raises TimeoutError.
        Every row is looked up before the commit. Rows that Postgres refuses are halved until the refused ones
        are alone: those are left out and reported, the others are written. A lost connection is tried again,
        and so is a server that is read-only, as one is during a failover.
        Raises FatalError when no row can be written (rights, table, columns, disk, Postgres away).
        """
        try:
            return await self._in_one_transaction(pool, rows, log, while_held)
        except _RowsNotThere as lost:
            return _sum(
                await self.insert(
                    pool, [row for row in rows if str(row.song_id) not in lost.song_ids], log, while_held
                ),
                Inserted(
                    refused=[
                        RefusedRow(row.song_id, NOT_THERE, _NOT_THERE_REASON)
                        for row in rows
                        if str(row.song_id) in lost.song_ids
                    ]
                ),
            )
        except _RowRefused as refused:
            if len(rows) == 1:
                reason = f"Postgres refused the row: {refused}."
                return Inserted(refused=[RefusedRow(rows[0].song_id, refused.sqlstate, reason)])
        middle = len(rows) // 2
        return _sum(
            await self.insert(pool, rows[:middle], log, while_held),
            await self.insert(pool, rows[middle:], log, while_held),
        )

    async def existing(self, pool: AsyncConnectionPool, song_ids: Collection[SongId]) -> set[SongId]:
        """Which of these songs have a row."""
        query = sql.SQL("select song_id from song_aboutness where {}").format(self.among(song_ids))
        async with pool.connection() as connection:
            await keep_short(connection)
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
        self,
        pool: AsyncConnectionPool,
        rows: Sequence[Row],
        log: logging.Logger,
        while_held: Callable[[], AbstractAsyncContextManager[object]],
    ) -> Inserted:
        deadline = math.inf
        attempt = 1
        while True:
            try:
                # The URL may ask to wait for Postgres indefinitely; an insert does not.
                seconds = min(pool.timeout, self.retry.seconds)
                async with while_held(), pool.connection(seconds) as connection:
                    return await self._insert_all(connection, rows)
            except TimeoutError:
                continue
            except (psycopg.OperationalError, errors.ReadOnlySqlTransaction) as lost:
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

    async def _insert_all(self, connection: AsyncConnection, rows: Sequence[Row]) -> Inserted:
        began = time.monotonic()
        try:
            with _refusals_of_rows():  # around the commit too, which checks deferred constraints
                async with connection.transaction():
                    await keep_short(connection)
                    written = await self.insert_into(connection, rows)
                    if not_there := await self._not_there(connection, rows):
                        raise _RowsNotThere(not_there)
            return Inserted(
                written=written, already_there=len(rows) - written, seconds=time.monotonic() - began
            )
        except errors.ReadOnlySqlTransaction:
            await connection.close()  # the server that the next attempt finds may be another
            raise

    async def _not_there(self, connection: AsyncConnection, rows: Sequence[Row]) -> set[str]:
        """The ids, as text, of the rows that this transaction cannot see in the table."""
        if not rows:
            return set()
        cursor = await connection.execute(
            sql.SQL(
                "select wanted::text from unnest({}::{}[]) wanted"
                " where not exists (select from song_aboutness where song_id = wanted)"
            ).format(sql.Literal([str(row.song_id) for row in rows]), CASTS[self.id_type])
        )
        return {song_id for (song_id,) in await cursor.fetchall()}

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


@contextmanager
def _refusals_of_rows() -> Iterator[None]:
    """Raise _RowRefused where Postgres, or its driver, finds fault with what a row holds."""
    try:
        yield
    except UnicodeEncodeError as unencodable:
        raise _RowRefused("22021", str(unencodable)) from unencodable
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        # The driver's own errors have no SQLSTATE: text with a NUL is one.
        sqlstate = error.sqlstate or ("22021" if isinstance(error, errors.DataError) else "0A")
        if sqlstate[:2] in _ABOUT_THE_TABLE:
            raise
        raise _RowRefused(sqlstate, postgres_message(error)) from error


def _sum(first: Inserted, second: Inserted) -> Inserted:
    return Inserted(
        first.written + second.written,
        first.already_there + second.already_there,
        first.refused + second.refused,
        first.seconds + second.seconds,
    )

"""What the old-style rows were when this project first saw them: the record in our own Postgres."""

from collections.abc import AsyncGenerator, AsyncIterable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded: rows created before rollout_at, and the columns of the digests in their order."""

    rollout_at: datetime
    columns: list[str]
    rows: int


@dataclass(frozen=True, slots=True)
class OldStyleBaseline:
    """The recorded digests of one table. There is one record per table: it is kept when the rollout moves.

    connection is an autocommit one to our own Postgres, table_id is AboutnessTable's.
    """

    connection: AsyncConnection
    table_id: str

    async def record(
        self, rollout_at: datetime, columns: Sequence[str], digests: AsyncIterable[tuple[str, bytes]]
    ) -> None:
        """Record the digests (song_id as text, digest over these columns) once; later calls change nothing.

        Where a record exists, ``digests`` is not read at all.
        """
        async with self.connection.transaction():
            # A process that records the same at the same time is waited for here.
            cursor = await self.connection.execute(
                "insert into aboutness_ops.old_style_baseline (table_id, rollout_at, columns)"
                " values (%s, %s, %s) on conflict do nothing",
                [self.table_id, rollout_at, list(columns)],
            )
            if cursor.rowcount == 0:
                return
            copy_rows = "copy aboutness_ops.old_style_row (table_id, song_id, digest) from stdin"
            async with self.connection.cursor() as writer, writer.copy(copy_rows) as copy:
                async for song_id, digest in digests:
                    await copy.write_row((self.table_id, song_id, digest))

    async def recorded(self) -> Recorded:
        """What is on record, which must exist."""
        recorded = await self.find()
        assert recorded is not None
        return recorded

    async def find(self) -> Recorded | None:
        """What is on record; None before the first run on the table."""
        cursor = await self.connection.execute(
            "select rollout_at, columns,"
            " (select count(*) from aboutness_ops.old_style_row as r where r.table_id = b.table_id)"
            " from aboutness_ops.old_style_baseline as b where table_id = %s",
            [self.table_id],
        )
        row = await cursor.fetchone()
        return None if row is None else Recorded(row[0], list(row[1]), int(row[2]))

    async def among(self, song_ids: Collection[str]) -> dict[str, bytes]:
        """The recorded digests of those of these songs (ids as text) that are on record."""
        cursor = await self.connection.execute(
            "select song_id, digest from aboutness_ops.old_style_row"
            " where table_id = %s and song_id = any(%s)",
            [self.table_id, list(song_ids)],
        )
        return dict(await cursor.fetchall())

    async def chunks(self, size: int) -> AsyncGenerator[dict[str, bytes], None]:
        """The recorded digests by song_id as text, ``size`` at a time, by a server-side cursor.

        A transaction is open until the generator is closed.
        """
        async with self.connection.transaction(), self.connection.cursor("old_style_rows") as cursor:
            await cursor.execute(
                "select song_id, digest from aboutness_ops.old_style_row"
                " where table_id = %s order by song_id",
                [self.table_id],
            )
            while chunk := await cursor.fetchmany(size):
                yield dict(chunk)

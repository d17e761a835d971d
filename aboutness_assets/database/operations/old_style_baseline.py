"""What the old-style rows were when this project first saw them: the record in our own Postgres."""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True)
class OldStyleBaseline:
    """The recorded digests of one table and one rollout time.

    connection is an autocommit one to our own Postgres, table_id is AboutnessTable's. Each rollout time has
    its own record.
    """

    connection: AsyncConnection
    table_id: str
    rollout_at: datetime

    async def record(self, columns: Sequence[str], digests: AsyncIterable[tuple[str, bytes]]) -> None:
        """Record the digests (song_id as text, digest over these columns) once; later calls change nothing.

        Where a record exists, ``digests`` is not read at all.
        """
        async with self.connection.transaction():
            # A process that records the same at the same time is waited for here.
            cursor = await self.connection.execute(
                "insert into aboutness_ops.old_style_baseline (table_id, rollout_at, columns)"
                " values (%s, %s, %s) on conflict do nothing",
                [self.table_id, self.rollout_at, list(columns)],
            )
            if cursor.rowcount == 0:
                return
            copy_rows = "copy aboutness_ops.old_style_row (table_id, rollout_at, song_id, digest) from stdin"
            async with self.connection.cursor() as writer, writer.copy(copy_rows) as copy:
                async for song_id, digest in digests:
                    await copy.write_row((self.table_id, self.rollout_at, song_id, digest))

    async def columns(self) -> list[str]:
        """The columns that the digests were taken over, in their order; [] where nothing is recorded."""
        cursor = await self.connection.execute(
            "select columns from aboutness_ops.old_style_baseline where table_id = %s and rollout_at = %s",
            [self.table_id, self.rollout_at],
        )
        row = await cursor.fetchone()
        return [] if row is None else list(row[0])

    async def row_count(self) -> int:
        """How many rows are recorded."""
        cursor = await self.connection.execute(
            "select count(*) from aboutness_ops.old_style_row where table_id = %s and rollout_at = %s",
            [self.table_id, self.rollout_at],
        )
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def chunks(self, size: int) -> AsyncGenerator[dict[str, bytes], None]:
        """The recorded digests by song_id as text, ``size`` at a time, by a server-side cursor.

        A transaction is open until the generator is closed.
        """
        async with self.connection.transaction(), self.connection.cursor("old_style_rows") as cursor:
            await cursor.execute(
                "select song_id, digest from aboutness_ops.old_style_row"
                " where table_id = %s and rollout_at = %s order by song_id",
                [self.table_id, self.rollout_at],
            )
            while chunk := await cursor.fetchmany(size):
                yield dict(chunk)

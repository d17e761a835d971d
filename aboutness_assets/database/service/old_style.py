"""Old-style rows: what they were when this project first saw them, and whether they still are that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection, errors, sql

CHUNK = 2_000
"""Rows compared at a time; a digest and an id are about 60 bytes."""


@dataclass(frozen=True, slots=True)
class OldStyleComparison:
    """Old-style rows on record, and the ids of those that changed or are gone."""

    recorded: int
    changed: list[str]
    gone: list[str]
    problem: str = ""

    @property
    def untouched(self) -> bool:
        """Whether every recorded row is byte for byte as it was."""
        return not (self.changed or self.gone or self.problem)


async def record_baseline(
    service_connection: AsyncConnection,
    operations_connection: AsyncConnection,
    *,
    table_id: str,
    rollout_at: datetime,
) -> None:
    """Record a digest of every old-style row, once; later calls change nothing.

    The digest is SHA-256 over the binary form of all columns that the table has now.
    """
    known = await operations_connection.execute(
        "select 1 from aboutness_ops.old_style_baseline where table_id = %s and rollout_at = %s",
        [table_id, rollout_at],
    )
    if await known.fetchone() is not None:
        return
    columns = await _column_names(service_connection)
    async with operations_connection.transaction():
        cursor = await operations_connection.execute(
            "insert into aboutness_ops.old_style_baseline (table_id, rollout_at, columns) values (%s, %s, %s)"
            " on conflict do nothing",
            [table_id, rollout_at, columns],
        )
        if cursor.rowcount == 0:
            return
        digests = await service_connection.execute(
            _digests(columns, sql.SQL("created_at < {}").format(sql.Literal(rollout_at)))
        )
        copy_rows = "copy aboutness_ops.old_style_row (table_id, rollout_at, song_id, digest) from stdin"
        async with operations_connection.cursor() as writer, writer.copy(copy_rows) as copy:
            async for song_id, digest in digests:
                await copy.write_row((table_id, rollout_at, song_id, digest))


async def compare_with_baseline(
    service_connection: AsyncConnection,
    operations_connection: AsyncConnection,
    *,
    table_id: str,
    id_type: str,
    rollout_at: datetime,
) -> OldStyleComparison:
    """Hold the recorded old-style rows against the table, by primary key: its size does not matter.

    id_type: the Postgres type of song_id.
    """
    await record_baseline(service_connection, operations_connection, table_id=table_id, rollout_at=rollout_at)
    baseline = await operations_connection.execute(
        "select columns from aboutness_ops.old_style_baseline where table_id = %s and rollout_at = %s",
        [table_id, rollout_at],
    )
    row = await baseline.fetchone()
    assert row is not None
    columns: list[str] = row[0]
    recorded = 0
    last: str | None = None
    changed: list[str] = []
    gone: list[str] = []
    while chunk := await _recorded_after(operations_connection, table_id, rollout_at, last):
        recorded += len(chunk)
        last = max(chunk)
        ids = sql.SQL("song_id = any({}::{}[])").format(sql.Literal(list(chunk)), sql.SQL(id_type))
        try:
            cursor = await service_connection.execute(_digests(columns, ids))
        except errors.UndefinedColumn as missing:
            return OldStyleComparison(recorded, [], [], f"a column is gone: {missing.diag.message_primary}")
        now: dict[str, bytes] = dict(await cursor.fetchall())
        gone += [song_id for song_id in chunk if song_id not in now]
        changed += [song_id for song_id, digest in chunk.items() if now.get(song_id, digest) != digest]
    return OldStyleComparison(recorded, changed, gone)


async def _recorded_after(
    connection: AsyncConnection, table_id: str, rollout_at: datetime, last: str | None
) -> dict[str, bytes]:
    cursor = await connection.execute(
        "select song_id, digest from aboutness_ops.old_style_row"
        ' where table_id = %s and rollout_at = %s and (%s::text is null or song_id collate "C" > %s)'
        ' order by song_id collate "C" limit %s',
        [table_id, rollout_at, last, last, CHUNK],
    )
    return dict(await cursor.fetchall())


async def _column_names(connection: AsyncConnection) -> list[str]:
    cursor = await connection.execute(
        "select array_agg(attname::text order by attnum) from pg_attribute"
        " where attrelid = to_regclass('song_aboutness') and attnum > 0 and not attisdropped"
    )
    row = await cursor.fetchone()
    assert row is not None
    return list(row[0])


def _digests(columns: list[str], condition: sql.Composable) -> sql.Composed:
    """SQL for (song_id as text, digest) of the rows that satisfy a condition."""
    return sql.SQL(
        "select song_id::text, sha256(record_send(old)) from (select {} from song_aboutness where {}) old"
    ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), condition)

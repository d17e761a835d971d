"""The rows of song_aboutness that are older than the rollout, as digests of whole rows."""

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.id_columns import is_one_of
from aboutness_assets.domain.songs import IdType

FETCHED_AT_ONCE = 2_000
"""Rows per round trip; a digest and an id are about 60 bytes."""


@dataclass(frozen=True, slots=True)
class OldStyleRows:
    """Reads columns and digests on a connection to the service, in the transaction that is open on it.

    A digest is SHA-256 (32 bytes) over the binary form of the given columns of one row.
    """

    connection: AsyncConnection
    id_type: IdType

    async def columns(self) -> list[str]:
        """The names of all columns that song_aboutness has now, in their order."""
        cursor = await self.connection.execute(
            "select array_agg(attname::text order by attnum) from pg_attribute"
            " where attrelid = to_regclass('song_aboutness') and attnum > 0 and not attisdropped"
        )
        row = await cursor.fetchone()
        assert row is not None
        return list(row[0])

    async def digests_before(
        self, columns: Sequence[str], rollout_at: datetime
    ) -> AsyncGenerator[tuple[str, bytes], None]:
        """(song_id as text, digest) of every row created before the rollout, by a server-side cursor."""
        created_before = sql.SQL("created_at < {}").format(sql.Literal(rollout_at))
        async with self.connection.cursor("old_style_digests") as cursor:
            cursor.itersize = FETCHED_AT_ONCE
            await cursor.execute(_digests(columns, created_before))
            async for song_id, digest in cursor:
                yield song_id, digest

    async def digests_of(self, columns: Sequence[str], song_ids: Collection[str]) -> dict[str, bytes]:
        """The digests, by song_id as text, of those of these songs that have a row, found by primary key."""
        cursor = await self.connection.execute(_digests(columns, is_one_of(song_ids, self.id_type)))
        return dict(await cursor.fetchall())


def _digests(columns: Sequence[str], condition: sql.Composable) -> sql.Composed:
    return sql.SQL(
        "select song_id::text, sha256(record_send(old)) from (select {} from song_aboutness where {}) old"
    ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), condition)

"""The acceptance criteria on texts, as SQL over the new rows of song_aboutness.

What is concluded from the counts is acceptance's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import AsyncConnection, sql

from aboutness_assets.domain.songs import SongId

TEXT_CRITERIA: dict[str, LiteralString] = {
    "emotions_text_within_100_chars": "char_length(emotions_text) > 100",
    "moments_text_within_100_chars": "char_length(moments_text) > 100",
    "emotions_text_without_confidence_tag": "emotions_text ilike '%[confidence:%'",
    "moments_text_without_confidence_tag": "moments_text ilike '%[confidence:%'",
}
"""By name of the asset check: the condition that a row violates it."""

WHOLE_TABLE: sql.Composable = sql.SQL("true")

EXAMPLES = 20
"""Song ids that are shown per violated criterion."""


@dataclass(frozen=True, slots=True)
class TextCounts:
    """How many new rows there are and how many violate each text criterion, with a few of their song ids."""

    new_rows: int
    violations: dict[str, int]
    examples: dict[str, list[SongId]]


async def count_violations(
    connection: AsyncConnection, rollout_at: datetime, within: sql.Composable = WHOLE_TABLE
) -> TextCounts:
    """Count the new rows that violate each text criterion, in one pass over the table.

    within: a condition on song_aboutness that chooses the rows to look at. Rows created before rollout_at
    are old-style: they do not count.
    """
    new = sql.SQL("(created_at >= {})").format(sql.Literal(rollout_at))
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) filter (where {} and {})").format(new, sql.SQL(violated))
        for violated in TEXT_CRITERIA.values()
    )
    query = sql.SQL("select count(*) filter (where {}), {} from song_aboutness where {}")
    cursor = await connection.execute(query.format(new, counts, within))
    row = await cursor.fetchone()
    assert row is not None
    violations = dict(zip(TEXT_CRITERIA, (int(count) for count in row[1:]), strict=True))
    examples = {
        name: await _examples(connection, sql.SQL(TEXT_CRITERIA[name]), new, within)
        for name, count in violations.items()
        if count
    }
    return TextCounts(int(row[0]), violations, examples)


async def _examples(
    connection: AsyncConnection, violated: sql.Composable, new: sql.Composable, within: sql.Composable
) -> list[SongId]:
    query = sql.SQL("select song_id::text from song_aboutness where {} and {} and {} limit {}")
    cursor = await connection.execute(query.format(new, violated, within, sql.Literal(EXAMPLES)))
    return [song_id for (song_id,) in await cursor.fetchall()]


async def heap_bytes(connection: AsyncConnection) -> int:
    """Bytes of song_aboutness that one pass over its texts reads (vectors lie outside of the main heap)."""
    cursor = await connection.execute("select pg_relation_size(to_regclass('song_aboutness'))")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0] or 0)

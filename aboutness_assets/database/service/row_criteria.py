"""The acceptance criteria on new rows of song_aboutness, as SQL.

A condition does not know which rows are old-style: those are on record in our own database. What is concluded
is acceptance's.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString, TypeAlias

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.aboutness_table import AboutnessTable

NEW_ROW_CRITERIA = (
    "emotions_text_within_100_chars",
    "moments_text_within_100_chars",
    "emotions_text_without_confidence_tag",
    "moments_text_without_confidence_tag",
    "new_rows_complete",
)
"""By name of the asset check."""

OLD_DATED = "old_dated"
"""No criterion: that a row was created before the rollout."""

RowFilter: TypeAlias = sql.Composable
"""A condition on song_aboutness that chooses rows."""

WHOLE_TABLE: RowFilter = sql.SQL("true")

Conditions: TypeAlias = Mapping[str, sql.Composable]
"""By name: the condition that a row violates the criterion (or is OLD_DATED)."""

FETCHED_AT_ONCE = 2_000
"""Rows per round trip."""

INLINE_BYTES = 2_000
"""Postgres keeps a larger value outside of its row (TOAST_TUPLE_THRESHOLD is 2 kB), where reading it costs
more than the row. So only smaller vectors are searched for a number that is not zero."""

_BLANK = "".join(filter(str.isspace, map(chr, range(1, 0x3001)))) + "\u200b\u200c\u200d\u2060\ufeff"
_BLANK_ASCII = "".join(filter(str.isascii, _BLANK))

# The tag is ASCII, and "C" is a collation that every column's ILIKE takes.
_TAGGED = sql.SQL("{}::text collate \"C\" ilike '%[confidence:%'")


async def open_row_reader(
    connection: AsyncConnection, table: AboutnessTable, rollout_at: datetime
) -> RowReader:
    """A reader with the conditions for the table as it is: some depend on its columns."""
    cursor = await connection.execute(
        "select attname, atttypmod from pg_attribute"
        " where attrelid = to_regclass('song_aboutness') and attnum > 0 and not attisdropped"
    )
    modifiers: dict[str, int] = dict(await cursor.fetchall())
    # The database's own encoding must be able to hold whatever is compared with.
    blank = _BLANK if connection.info.parameter_status("server_encoding") == "UTF8" else _BLANK_ASCII
    is_dated = "created_at" in modifiers
    incomplete: list[sql.Composable] = [sql.SQL("created_at is null")] if is_dated else []
    for name in ("emotions", "moments"):
        text, confidence, vector = (
            sql.Identifier(f"{name}_{part}") for part in ("text", "confidence", "vector")
        )
        labels = sql.Literal(list(table.confidence_labels.values()))
        incomplete += [
            sql.SQL("{} is null or btrim({}::text, {}) = ''").format(text, text, sql.Literal(blank)),
            sql.SQL("{} is null or {}::text <> all({})").format(confidence, confidence, labels),
            sql.SQL("{} is null").format(vector),
            _all_zero(vector, table),
        ]
        is_fixed_by_type = table.vector_kind in ("vector", "halfvec") and modifiers[f"{name}_vector"] > 0
        if table.dimension is not None and not is_fixed_by_type:
            size = sql.SQL("{}({}) <> {}").format(table.vector_size, vector, sql.Literal(table.dimension))
            incomplete.append(size)
    old_dated = sql.SQL("created_at < {}").format(sql.Literal(rollout_at)) if is_dated else sql.SQL("false")
    conditions: Conditions = {
        "emotions_text_within_100_chars": sql.SQL("char_length(emotions_text) > 100"),
        "moments_text_within_100_chars": sql.SQL("char_length(moments_text) > 100"),
        "emotions_text_without_confidence_tag": _TAGGED.format(sql.Identifier("emotions_text")),
        "moments_text_without_confidence_tag": _TAGGED.format(sql.Identifier("moments_text")),
        "new_rows_complete": sql.SQL(" or ").join(incomplete),
        OLD_DATED: old_dated,
    }
    return RowReader(connection, conditions)


def _all_zero(vector: sql.Identifier, table: AboutnessTable) -> sql.Composable:
    condition: LiteralString = "pg_column_size({}) <= {} and 0::real = all({}::real[])"
    if table.vector_kind == "double precision[]":
        condition = "pg_column_size({}) <= {} and 0::float8 = all({})"
    return sql.SQL(condition).format(vector, sql.Literal(INLINE_BYTES), vector)


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows of song_aboutness on a connection to the service, in the transaction that is open on it."""

    connection: AsyncConnection
    conditions: Conditions

    async def count(self, within: RowFilter = WHOLE_TABLE) -> int:
        """How many rows ``within`` chooses, counted."""
        query = sql.SQL("select count(*) from song_aboutness where {}")
        row = await (await self.connection.execute(query.format(within))).fetchone()
        assert row is not None
        return int(row[0])

    async def flagged(
        self, within: RowFilter = WHOLE_TABLE
    ) -> AsyncGenerator[list[tuple[str, list[str]]], None]:
        """The rows that meet a condition, in chunks: song_id as text, and the conditions it meets.

        One statement, so all rows are seen as of one moment.
        """
        each = [sql.SQL("({})").format(condition) for condition in self.conditions.values()]
        query = sql.SQL("select song_id::text, {} from song_aboutness where ({}) and ({})").format(
            sql.SQL(", ").join(each), within, sql.SQL(" or ").join(each)
        )
        async with self.connection.cursor("flagged_rows") as cursor:
            await cursor.execute(query)
            while rows := await cursor.fetchmany(FETCHED_AT_ONCE):
                yield [
                    (song_id, [name for name, is_met in zip(self.conditions, are_met, strict=True) if is_met])
                    for song_id, *are_met in rows
                ]

    @property
    def demands(self) -> str:
        """A hash of all conditions: with others, rows that were looked at are to be looked at again."""
        text = "\n".join(f"{name}: {met.as_string(self.connection)}" for name, met in self.conditions.items())
        return hashlib.sha256(text.encode()).hexdigest()


async def heap_bytes(connection: AsyncConnection) -> int:
    """Bytes of song_aboutness that one pass over its texts reads (long vectors lie outside of the heap)."""
    cursor = await connection.execute("select pg_relation_size(to_regclass('song_aboutness'))")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0] or 0)

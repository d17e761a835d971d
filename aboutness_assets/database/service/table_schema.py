"""Whether the service's song_aboutness is as agreed: its columns, their types, the rights of our role."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.aboutness_table import (
    DEFAULT_INSERT_RETRY,
    AboutnessTable,
    InsertRetry,
)
from aboutness_assets.database.service.id_columns import ID_TYPES, ID_TYPES_OF_ROWS
from aboutness_assets.database.service.vectors import VectorKind
from aboutness_assets.domain.errors import FatalError

_TEXT = ("text", "varchar")
_VECTOR_KINDS: dict[str, VectorKind] = {
    "vector": "vector",
    "halfvec": "halfvec",
    "_float4": "real[]",
    "_float8": "double precision[]",
}
_COLUMNS: dict[str, tuple[str, ...] | None] = {
    "song_id": ID_TYPES_OF_ROWS,
    "emotions_text": _TEXT,
    "moments_text": _TEXT,
    "emotions_confidence": None,
    "moments_confidence": None,
    "emotions_vector": tuple(_VECTOR_KINDS),
    "moments_vector": tuple(_VECTOR_KINDS),
    "created_at": ("timestamptz",),
}
"""What the contract demands of a column: its type by name in pg_type; None: any type."""


async def read_table(
    connection: AsyncConnection, retry: InsertRetry = DEFAULT_INSERT_RETRY
) -> AboutnessTable:
    """Read what song_aboutness is from Postgres' own catalogue; retry is what its ``insert`` does.

    Raises FatalError, naming everything that is not as agreed, when rows could not be inserted.
    """
    cursor = await connection.execute(
        "select current_database() || '.' || n.nspname || '.song_aboutness#' || c.oid"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid = to_regclass('song_aboutness')"
    )
    found = await cursor.fetchone()
    if found is None:
        raise FatalError(
            "There is no table song_aboutness in the database of DATABASE_URL (or its role may not see it). "
            "Check the database, and the schema in ?schema=."
        )
    (table_id,) = found
    columns = await _columns(connection)
    if problems := _problems(columns):
        raise FatalError(
            f"song_aboutness is not as agreed: {'; '.join(problems)}. "
            "docs/operating.md says what it must look like and which rights the role needs."
        )
    emotions, moments = columns["emotions_vector"], columns["moments_vector"]
    if (emotions.type_name, emotions.dimension) != (moments.type_name, moments.dimension):
        raise FatalError(
            "song_aboutness is not as agreed: emotions_vector and moments_vector differ "
            "in type or dimension, but one embedding model fills both."
        )
    kind = _VECTOR_KINDS[emotions.type_name]
    return AboutnessTable(
        table_id,
        ID_TYPES[columns["song_id"].type_name],
        kind,
        emotions.type_oid,
        emotions.dimension or await _dimension_of_rows(connection, kind),
        retry,
    )


@dataclass(frozen=True, slots=True)
class _Column:
    type_name: str
    type_oid: int
    dimension: int | None
    must_be_given: bool
    may_select: bool
    may_insert: bool


async def _columns(connection: AsyncConnection) -> dict[str, _Column]:
    cursor = await connection.execute(
        "select a.attname, t.typname, t.oid, a.atttypmod,"
        " a.attnotnull and not a.atthasdef and a.attidentity = '',"
        " has_column_privilege(a.attrelid, a.attnum, 'SELECT'),"
        " has_column_privilege(a.attrelid, a.attnum, 'INSERT')"
        " from pg_attribute a join pg_type t on t.oid = a.atttypid"
        " where a.attrelid = to_regclass('song_aboutness') and a.attnum > 0 and not a.attisdropped"
    )
    return {
        name: _Column(
            type_name,
            oid,
            modifier if type_name in ("vector", "halfvec") and modifier > 0 else None,
            *must_and_may,
        )
        for name, type_name, oid, modifier, *must_and_may in await cursor.fetchall()
    }


def _problems(columns: dict[str, _Column]) -> list[str]:
    problems = []
    for name, allowed in _COLUMNS.items():
        if name not in columns:
            problems.append(f"column {name} is missing")
        elif allowed is not None and columns[name].type_name not in allowed:
            problems.append(
                f"column {name} has type {columns[name].type_name}, not one of {', '.join(allowed)}"
            )
    problems += [
        f"column {name} must be given a value, which this project does not know"
        for name, column in columns.items()
        if column.must_be_given and name not in _COLUMNS
    ]
    # Every column is read, for the digests of old-style rows; created_at is never written.
    rights = (
        ("SELECT", [name for name, column in columns.items() if not column.may_select]),
        (
            "INSERT",
            [
                name
                for name, column in columns.items()
                if name in _COLUMNS and name != "created_at" and not column.may_insert
            ],
        ),
    )
    problems += [f"the role has no {right} on {', '.join(lacking)}" for right, lacking in rights if lacking]
    return problems


async def _dimension_of_rows(connection: AsyncConnection, kind: VectorKind) -> int | None:
    size = sql.SQL("vector_dims") if kind in ("vector", "halfvec") else sql.SQL("cardinality")
    cursor = await connection.execute(
        sql.SQL(
            "select {}(emotions_vector) from song_aboutness where emotions_vector is not null limit 1"
        ).format(size)
    )
    row = await cursor.fetchone()
    return int(row[0]) if row is not None and row[0] else None

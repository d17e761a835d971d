"""Whether the service's song_aboutness is as agreed: its columns, their types, the rights of our role."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.aboutness_table import (
    DEFAULT_INSERT_RETRY,
    AboutnessTable,
    InsertRetry,
)
from aboutness_assets.database.service.confidence_labels import (
    AS_THEY_ARE,
    Labels,
    labels_among,
    labels_in_checks,
)
from aboutness_assets.database.service.id_columns import ID_TYPES, ID_TYPES_OF_ROWS
from aboutness_assets.database.service.table_identity import read_identity
from aboutness_assets.database.service.vectors import VectorKind, size_function
from aboutness_assets.domain.errors import FatalError

_TEXT = ("text", "varchar", "citext")
_VECTOR_KINDS: dict[str, VectorKind] = {
    "vector": "vector",
    "halfvec": "halfvec",
    "_float4": "real[]",
    "_float8": "double precision[]",
}
_CONFIDENCE_COLUMNS = ("emotions_confidence", "moments_confidence")
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
"""What the contract demands of a column: its type, or that of its domain, by name in pg_type; None: any."""

_WRITTEN = tuple(name for name in _COLUMNS if name != "created_at")

_SIZE_CHECK = re.compile(r"(?:array_length|cardinality|vector_dims)\(\(?emotions_vector\b[^=]*\)\s*=\s*(\d+)")


async def read_table(
    connection: AsyncConnection, retry: InsertRetry = DEFAULT_INSERT_RETRY
) -> AboutnessTable:
    """Read what song_aboutness is from Postgres' own catalogue; retry is what its ``insert`` does.

    Raises FatalError, naming everything that is not as agreed, when rows could not be inserted. What only an
    INSERT shows is insert_probe.py's.
    """
    identity = await read_identity(connection)
    if identity is None:
        raise FatalError(
            "There is no table song_aboutness in the database of DATABASE_URL (or its role may not see it). "
            "Check the database, and the schema in ?schema=."
        )
    columns = await _columns(connection)
    problems = _problems(columns)
    if not await _song_id_is_unique(connection):
        problems.append(
            "song_id has no primary key or unique constraint of its own: a song could get two rows"
        )
    spellings = [columns[name].labels for name in _CONFIDENCE_COLUMNS if name in columns]
    labels = next((each for each in spellings if each and each != AS_THEY_ARE), AS_THEY_ARE)
    if any(each not in (labels, AS_THEY_ARE, None) for each in spellings):
        problems.append(f"{' and '.join(_CONFIDENCE_COLUMNS)} spell low, medium and high differently")
    if problems:
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
        identity,
        ID_TYPES[columns["song_id"].type_name],
        kind,
        emotions.type_oid,
        emotions.type_schema,
        emotions.dimension
        or _dimension_in(emotions.checks)
        or await _dimension_of_rows(connection, size_function(kind, emotions.type_schema)),
        labels,
        retry,
    )


@dataclass(frozen=True, slots=True)
class _Column:
    type_name: str
    type_oid: int
    type_schema: str
    dimension: int | None
    must_be_given: bool
    may_select: bool
    may_insert: bool
    enum: tuple[str, ...] | None
    checks: tuple[str, ...]

    @property
    def labels(self) -> Labels | None:
        """How a column of confidences spells them; None where an enum lacks one of the three."""
        return labels_in_checks(self.checks) if self.enum is None else labels_among(self.enum)


_COLUMNS_QUERY = """
with recursive types as (
    select a.attnum, a.atttypid as oid, a.atttypmod as modifier, array[a.atttypid] as domains
    from pg_attribute a
    where a.attrelid = to_regclass('song_aboutness') and a.attnum > 0 and not a.attisdropped
    union all
    select types.attnum, t.typbasetype, t.typtypmod, t.typbasetype || domains
    from types join pg_type t on t.oid = types.oid and t.typtype = 'd'
)
select a.attname, t.typname, t.oid, n.nspname, types.modifier,
    a.attnotnull and not a.atthasdef and a.attidentity = '' and not exists (
        -- a row trigger BEFORE INSERT may give it a value (bits 0 to 2 of tgtype)
        select from pg_trigger where tgrelid = a.attrelid and not tgisinternal and tgtype & 7 = 7
    ),
    has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
    has_column_privilege(a.attrelid, a.attnum, 'INSERT'),
    (select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
    array(
        select pg_get_constraintdef(c.oid) from pg_constraint c
        where c.contype = 'c'
        and (c.conrelid = a.attrelid and a.attnum = any(c.conkey) or c.contypid = any(types.domains))
    )
from types
join pg_attribute a on a.attrelid = to_regclass('song_aboutness') and a.attnum = types.attnum
join pg_type t on t.oid = types.oid and t.typtype <> 'd'
join pg_namespace n on n.oid = t.typnamespace
"""


async def _columns(connection: AsyncConnection) -> dict[str, _Column]:
    cursor = await connection.execute(_COLUMNS_QUERY)
    return {
        name: _Column(
            type_name,
            oid,
            schema,
            modifier if type_name in ("vector", "halfvec") and modifier > 0 else None,
            must_be_given,
            may_select,
            may_insert,
            None if enum is None else tuple(enum),
            tuple(checks),
        )
        for (
            name,
            type_name,
            oid,
            schema,
            modifier,
            must_be_given,
            may_select,
            may_insert,
            enum,
            checks,
        ) in await cursor.fetchall()
    }


async def _song_id_is_unique(connection: AsyncConnection) -> bool:
    """Whether no song can have two rows; a view does not tell, so it counts as unique."""
    cursor = await connection.execute(
        "select c.relkind not in ('r', 'p') or exists ("
        " select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attname = 'song_id'"
        " where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null"
        " and i.indnkeyatts = 1 and i.indkey[0] = a.attnum)"
        " from pg_class c where c.oid = to_regclass('song_aboutness')"
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


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
        f"column {name} is an enum of {', '.join(columns[name].enum or ())}, not of low, medium and high"
        for name in _CONFIDENCE_COLUMNS
        if name in columns and columns[name].labels is None
    ]
    problems += [
        f"column {name} must be given a value, which this project does not know: give it a default"
        for name, column in columns.items()
        if column.must_be_given and name not in _WRITTEN
    ]
    # Every column is read, for the digests of old-style rows; created_at is never written.
    rights = (
        ("SELECT", [name for name, column in columns.items() if not column.may_select]),
        ("INSERT", [name for name, column in columns.items() if name in _WRITTEN and not column.may_insert]),
    )
    problems += [f"the role has no {right} on {', '.join(lacking)}" for right, lacking in rights if lacking]
    return problems


def _dimension_in(checks: Iterable[str]) -> int | None:
    """The dimension that CHECK constraints demand, as in ``cardinality(emotions_vector) = 384``."""
    return next((int(found[1]) for check in checks if (found := _SIZE_CHECK.search(check))), None)


async def _dimension_of_rows(connection: AsyncConnection, size: sql.Composable) -> int | None:
    cursor = await connection.execute(
        sql.SQL(
            "select {}(emotions_vector) from song_aboutness where emotions_vector is not null limit 1"
        ).format(size)
    )
    row = await cursor.fetchone()
    return int(row[0]) if row is not None and row[0] else None

"""float32 vectors straight to Postgres' binary parameters; no list of floats is ever built."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection, sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

VectorKind: TypeAlias = Literal["vector", "halfvec", "real[]", "double precision[]"]

_ELEMENT: dict[VectorKind, tuple[int, str]] = {"real[]": (700, ">f4"), "double precision[]": (701, ">f8")}
"""Array element type: its oid (pg_type.dat) and its form on the wire."""


@dataclass(frozen=True, slots=True)
class BinaryVector:
    """A vector as Postgres receives it in a binary parameter."""

    data: bytes


def encode(vector: NDArray[np.float32], kind: VectorKind) -> BinaryVector:
    """One vector of shape (dimension,) in the binary form of the column's type.

    vector and halfvec: int16 dimension, int16 zero, big-endian elements (pgvector's vector_recv and
    halfvec_recv); arrays: the header of array_recv, then each element with its length before it.
    """
    if kind in ("vector", "halfvec"):
        header = np.array([vector.size, 0], dtype=">i2").tobytes()
        return BinaryVector(header + vector.astype(">f4" if kind == "vector" else ">f2").tobytes())
    oid, form = _ELEMENT[kind]
    elements = np.empty(vector.size, dtype=[("length", ">i4"), ("value", form)])
    elements["length"] = elements.dtype["value"].itemsize
    elements["value"] = vector
    header = np.array([1, 0, oid, vector.size, 1], dtype=">i4").tobytes()
    return BinaryVector(header + elements.tobytes())


def size_function(kind: VectorKind, schema: str) -> sql.Composable:
    """The SQL function that counts the numbers of a vector; schema: that of the column's type.

    pgvector may lie in a schema that the search_path lacks.
    """
    if kind in ("vector", "halfvec"):
        return sql.Identifier(schema, "vector_dims")
    return sql.SQL("pg_catalog.cardinality")


def register(connection: AsyncConnection, type_oid: int) -> None:
    """Let this connection send BinaryVector as parameters of the column's type."""
    connection.adapters.register_dumper(BinaryVector, _dumper(type_oid))


@cache
def _dumper(type_oid: int) -> type[Dumper]:
    class BinaryVectorDumper(Dumper):
        format = Format.BINARY
        oid = type_oid

        def dump(self, obj: BinaryVector) -> bytes:
            return obj.data

    return BinaryVectorDumper

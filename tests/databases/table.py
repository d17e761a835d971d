"""The whole table of cases, in its sections."""

from tests.databases import access, columns, connections, constraints, tables

SECTIONS = {
    "Tables": tables.TABLES,
    "Song ids": tables.IDS,
    "Vectors": tables.VECTORS,
    "Confidences": columns.CONFIDENCES,
    "Texts": columns.TEXTS,
    "Further columns": columns.FURTHER_COLUMNS,
    "Keys and constraints": constraints.KEYS,
    "Triggers and rules": constraints.TRIGGERS,
    "Rights": access.RIGHTS,
    "Row-level security": access.ROW_SECURITY,
    "Read-only servers": access.READ_ONLY,
    "Settings of the database": access.SETTINGS,
    "Encodings and versions": connections.ENCODINGS,
    "Poolers": connections.POOLERS,
}
CASES = [case for section in SECTIONS.values() for case in section]

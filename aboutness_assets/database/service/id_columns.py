"""The column song_id in SQL: the Postgres types that it may have, and conditions on it.

What an id is in Python is domain/songs.py's.
"""

from collections.abc import Iterable

from psycopg import sql

from aboutness_assets.domain.songs import IdType, SongId

ID_TYPES: dict[str, IdType] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "uuid": "uuid",
}
"""By the name of the column's type in pg_type."""

ID_TYPES_OF_ROWS = tuple(name for name in ID_TYPES if name != "bpchar")
"""What song_aboutness.song_id may be. ABOUTNESS_SONGS_QUERY may yield char(n) too: its padding is lost in a
comparison with text, so that a row could not be found again by its id."""

CASTS: dict[IdType, sql.SQL] = {
    "integer": sql.SQL("bigint"),
    "text": sql.SQL("text"),
    "uuid": sql.SQL("uuid"),
}
"""What a parameter is cast to; integer columns of every width are compared with bigint by index."""


def is_one_of(song_ids: Iterable[SongId], id_type: IdType) -> sql.Composed:
    """The condition that ``song_id`` is one of these, found by index, for a query without parameters."""
    return sql.SQL("song_id = any({}::{}[])").format(
        sql.Literal([str(song_id) for song_id in song_ids]), CASTS[id_type]
    )

"""ABOUTNESS_SONGS_QUERY: a SELECT of song_id, title and artist, as part of a statement of ours."""

import re

import psycopg
from psycopg import AsyncConnection, sql

from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.service.id_columns import ID_TYPES
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import IdType

_TOKEN = re.compile(
    r"""(?P<blank>\s+|;|--[^\n]*|/\*.*?\*/)|'(?:[^']|'')*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|.""",
    re.DOTALL,
)


def songs_subquery(songs_query: str) -> sql.Composed:
    """The query in parentheses, without semicolons and comments at its end, ready to run with parameters."""
    end = max((token.end() for token in _TOKEN.finditer(songs_query) if token["blank"] is None), default=0)
    text = songs_query[:end].replace("%", "%%")
    # The one SQL that is not written in this package: the operator's own, from the environment alone.
    return sql.SQL("({})").format(sql.SQL(text))  # pyright: ignore[reportArgumentType]


async def id_type_of(connection: AsyncConnection, songs_query: str) -> IdType:
    """The type of the ids that ``songs_query`` yields; reads no row.

    Raises FatalError where the query fails, lacks one of its three columns or has ids of another type.
    """
    statement = sql.SQL("select s.song_id, s.title, s.artist from {songs} as s limit 0")
    try:
        cursor = await connection.execute(statement.format(songs=songs_subquery(songs_query)), {})
    except psycopg.ProgrammingError as error:
        raise FatalError(
            f"The catalogue cannot be read: {postgres_message(error)}. Set ABOUTNESS_SONGS_QUERY to a SELECT "
            "that yields song_id, title and artist and that the role of DATABASE_URL may run."
        ) from error
    assert cursor.description is not None
    column = cursor.description[0]
    type_name = column.type_display
    id_type = ID_TYPES.get(type_name.partition("(")[0])
    if id_type is None:
        raise FatalError(
            f"The songs' column song_id has the type {type_name}, but must be integer, bigint, text or "
            "uuid: cast it in ABOUTNESS_SONGS_QUERY to the type that song_aboutness.song_id has."
        )
    return id_type

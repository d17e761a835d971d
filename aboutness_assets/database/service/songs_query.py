"""ABOUTNESS_SONGS_QUERY: a SELECT of song_id, title and artist, as part of a statement of ours.

Whatever contains it is executed by read_songs alone.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor, errors, sql

from aboutness_assets.database.postgres_errors import postgres_message
from aboutness_assets.database.service.id_columns import ID_TYPES
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import IdType

# PostgreSQL's manual, "Lexical Structure": E'…' has backslashes, identifiers may contain $, /* */ nests.
_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|(?P<comment>/\*))|(?P<semicolon>;)"""
    r"""|[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|"(?:[^"]|"")*\""""
    r"""|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$|\w[\w$]*|.""",
    re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


def songs_subquery(songs_query: str) -> sql.Composed:
    """The query in parentheses, up to its semicolon, ready to run with parameters.

    Raises FatalError where another statement follows.
    """
    end: int | None = None
    for token in _tokens(songs_query):
        if token["semicolon"]:
            end = token.start() if end is None else end
        elif end is not None and token["blank"] is None:
            raise FatalError(
                "ABOUTNESS_SONGS_QUERY holds more than one statement, but is used as a subquery: set it to a "
                "single SELECT, without anything after its semicolon."
            )
    text = songs_query[:end].replace("%", "%%")
    # Lines of its own: a comment at its end would swallow the parenthesis. It is the one SQL that is not
    # written in this package: the operator's own, from the environment alone.
    return sql.SQL("(\n{}\n)").format(sql.SQL(text))  # pyright: ignore[reportArgumentType]


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while token := _TOKEN.match(text, position):
        position = _comment_end(text, token.end()) if token["comment"] else token.end()
        yield token


def _comment_end(text: str, position: int) -> int:
    depth = 1
    while depth and (mark := _COMMENT_MARK.search(text, position)):
        depth += 1 if mark[0] == "/*" else -1
        position = mark.end()
    return len(text) if depth else position


async def read_songs(
    connection: AsyncConnection, statement: sql.SQL | sql.Composed, parameters: Mapping[str, Any]
) -> AsyncCursor:
    """Execute a statement that contains the songs query, so that it can do nothing but read.

    The transaction, which the caller has open, is read-only from here on. Asking for binary results makes
    psycopg use the extended protocol, which refuses a second statement, even without parameters.
    Raises FatalError where the query writes.
    """
    await connection.execute("set transaction read only")
    try:
        return await connection.execute(statement, parameters, binary=True)
    except errors.ReadOnlySqlTransaction as refused:
        raise FatalError(
            f"ABOUTNESS_SONGS_QUERY may only read, but writes: {postgres_message(refused)}. Nothing was "
            "changed; set it to a SELECT without functions that write."
        ) from refused


async def id_type_of(connection: AsyncConnection, songs_query: str, setting: str = "DATABASE_URL") -> IdType:
    """The type of the ids that ``songs_query`` yields; reads no row. setting: holds the URL.

    Raises FatalError where the query fails, lacks one of its three columns or has ids of another type.
    """
    statement = sql.SQL("select s.song_id, s.title, s.artist from {songs} as s limit 0")
    try:
        cursor = await read_songs(connection, statement.format(songs=songs_subquery(songs_query)), {})
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        raise FatalError(
            f"The catalogue cannot be read: {postgres_message(error)}. Set ABOUTNESS_SONGS_QUERY to a SELECT "
            f"that yields song_id, title and artist and that the role of {setting} may run."
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

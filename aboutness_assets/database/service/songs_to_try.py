"""A few songs without a row, to try an INSERT with."""

from dataclasses import dataclass

from psycopg import AsyncConnection, errors, sql

from aboutness_assets.database.service.songs_query import read_songs, songs_subquery
from aboutness_assets.domain.songs import IdType, SongId, song_id_of

SEARCH_TIMEOUT_MS = 30_000
"""A catalogue whose search takes longer has few songs left, or a slow ABOUTNESS_SONGS_QUERY."""

# The last song too: its id may be too large for the column, or have no partition.
_FEW = sql.SQL("""
with without_row as not materialized (
    select s.song_id from {songs} as s
    where s.song_id is not null and not exists (select from song_aboutness as a where a.song_id = s.song_id)
)
(select song_id from without_row order by song_id limit 2)
union
(select song_id from without_row order by song_id desc limit 1)
order by 1
""")


_ANY = sql.SQL("select exists (select from {songs} as s where s.song_id is not null)")


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for songs without a row came to.

    found: the first two of the whole catalogue, and the last one. is_catalogue_empty: whether there are none
    because there is no song at all. took_too_long: whether it was given up, which tells nothing.
    """

    found: list[SongId]
    is_catalogue_empty: bool = False
    took_too_long: bool = False


async def songs_to_try(connection: AsyncConnection, songs_query: str, id_type: IdType) -> Search:
    """Search the whole catalogue for songs without a row; the transaction is read-only afterward."""
    songs = songs_subquery(songs_query)
    await connection.execute("select set_config('statement_timeout', %s, true)", [str(SEARCH_TIMEOUT_MS)])
    try:
        cursor = await read_songs(connection, _FEW.format(songs=songs), {})
        found = [song_id_of(song_id, id_type) for (song_id,) in await cursor.fetchall()]
        if found:
            return Search(found)
        exists = await (await read_songs(connection, _ANY.format(songs=songs), {})).fetchone()
    except errors.QueryCanceled:
        await connection.rollback()
        return Search([], took_too_long=True)
    return Search([], is_catalogue_empty=exists is not None and not exists[0])

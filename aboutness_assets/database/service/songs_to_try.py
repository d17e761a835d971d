"""A few songs without a row, to try an INSERT with."""

from psycopg import AsyncConnection, sql

from aboutness_assets.database.service.songs_query import read_songs, songs_subquery
from aboutness_assets.domain.songs import IdType, SongId, song_id_of

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


async def songs_to_try(connection: AsyncConnection, songs_query: str, id_type: IdType) -> list[SongId]:
    """The first two songs of the whole catalogue that have no row, and the last one."""
    cursor = await read_songs(connection, _FEW.format(songs=songs_subquery(songs_query)), {})
    return [song_id_of(song_id, id_type) for (song_id,) in await cursor.fetchall()]

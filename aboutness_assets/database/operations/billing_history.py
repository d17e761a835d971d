"""What the provider billed for earlier requests like those to come, read from ledger and journal."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import class_row

from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.money.estimate import BilledEmbeddings

ATTEMPTS_LOOKED_AT = 10_000
"""The latest entries of the ledger that are looked at: about 90,000 songs in packs of ten."""

REQUESTS_READ = 500
"""Their latest chat requests that are read: more do not narrow an estimate any further."""

# The inner limit keeps Postgres at one look into the primary key per entry: it would read the whole journal.
_RECENT = """
with recent as (
    select * from aboutness_ops.attempt order by attempt_id desc limit %(looked_at)s
), asked as (
    select a.attempt_id, a.run_id, r.kind, r.song_ids, r.songs,
           a.prompt_tokens, a.completion_tokens,
           coalesce(a.cached_tokens, 0) as cached_tokens,
           coalesce(a.cache_write_tokens, 0) as cache_write_tokens
    from recent a cross join lateral (
        select * from aboutness_ops.chat_request c where c.request_id = a.request_id limit 1
    ) as r
    where a.kind = 'chat' and a.state = 'billed' and a.table_id = %(table_id)s
      and a.model = %(chat_model)s and r.prompt_hash = %(prompt_hash)s
      and r.reasoning_effort = %(reasoning_effort)s and a.prompt_tokens > 0 and a.completion_tokens > 0
)
"""

_REQUESTS = _RECENT + "select * from asked order by attempt_id desc limit %(requests)s"

# A run embeds what it asked for.
_EMBEDDINGS = (
    _RECENT
    + """
select (select count(*) from (select distinct run_id, unnest(song_ids) from asked) as songs) as songs,
       count(*) as requests, coalesce(sum(prompt_tokens), 0) as tokens
from recent
where kind = 'embedding' and state = 'billed' and table_id = %(table_id)s and model = %(embedding_model)s
  and prompt_tokens > 0 and run_id = any(array(select distinct run_id from asked))
"""
)


@dataclass(frozen=True, slots=True)
class LikeRequests:
    """What earlier requests must have in common with those to come."""

    table_id: str
    chat_model: str
    embedding_model: str
    prompt_hash: str
    reasoning_effort: str


@dataclass(frozen=True, slots=True)
class BilledChat:
    """A chat request that was billed; songs: [title, artist] of each."""

    attempt_id: int
    run_id: str
    kind: str
    song_ids: list[str]
    songs: list[list[str]]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int


async def billed_chat(
    operations: Operations, like: LikeRequests, *, limit: int = REQUESTS_READ
) -> list[BilledChat]:
    """The latest chat requests that were billed, oldest first."""

    async def select(connection: AsyncConnection) -> list[BilledChat]:
        cursor = connection.cursor(row_factory=class_row(BilledChat))
        await cursor.execute(_REQUESTS, _parameters(like) | {"requests": limit})
        return await cursor.fetchall()

    return list(reversed(await operations.query(select)))


async def billed_embeddings(operations: Operations, like: LikeRequests) -> BilledEmbeddings:
    """What the embeddings of the same runs came to."""

    async def select(connection: AsyncConnection) -> BilledEmbeddings:
        cursor = connection.cursor(row_factory=class_row(BilledEmbeddings))
        await cursor.execute(_EMBEDDINGS, _parameters(like))
        found = await cursor.fetchone()
        assert found is not None
        return found

    return await operations.query(select)


def _parameters(like: LikeRequests) -> dict[str, str | int]:
    return {
        "looked_at": ATTEMPTS_LOOKED_AT,
        "table_id": like.table_id,
        "chat_model": like.chat_model,
        "embedding_model": like.embedding_model,
        "prompt_hash": like.prompt_hash,
        "reasoning_effort": like.reasoning_effort,
    }

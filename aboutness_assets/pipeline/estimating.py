"""The estimate of a whole backfill, from the catalogue's real titles and from what was billed before.

Everything here only reads, and nothing is sent to the provider.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

from aboutness_assets.database.operations.billing_history import (
    BilledChat,
    LikeRequests,
    billed_chat,
    billed_embeddings,
)
from aboutness_assets.database.operations.limit_store import seen_limits
from aboutness_assets.database.service import catalogue
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.prompt import (
    ANSWER_ENTRY,
    PROMPT_HASH,
    request_texts,
    sent_artist,
    sent_title,
)
from aboutness_assets.money.estimate import (
    BilledRequest,
    Estimate,
    History,
    RateLimits,
    SongsLeft,
    estimate,
    request_shape,
    songs_left,
)
from aboutness_assets.money.estimate_text import estimate_lines
from aboutness_assets.money.token_counts import TokenCounter, by_characters
from aboutness_assets.pipeline.session import Session
from aboutness_assets.pipeline.terms import Terms

LOGGED_BELOW_SONGS = 200_000
"""Up to so many songs a run begins with the estimate: 114,000 take about 2 s of CPU."""


async def estimate_backfill(session: Session, terms: Terms, counter: TokenCounter) -> Estimate:
    """What it takes to give every song of the catalogue its row; reads the names of all songs left.

    Songs left include those in quarantine and those whose answers are paid for and kept; both are few.
    """
    return estimate(
        await _songs_left(session, terms.range_size, counter),
        request_shape(counter, request_texts, ANSWER_ENTRY),
        await _history(session, terms, counter),
        (terms.tariff.chat, terms.tariff.embedding),
        await _known_limits(session, terms),
        session.tuning.packs_per_embedding * session.pack_size,
    )


async def log_estimate(session: Session, log: logging.Logger) -> None:
    """Log the estimate of the whole catalogue at the start of a run, unless the catalogue is large."""
    async with session.service_pool.connection() as connection:
        songs, _ = await catalogue.estimated_coverage(connection, session.songs_query)
    if songs > LOGGED_BELOW_SONGS:
        log.info(
            "The catalogue is large (about %s songs): the job aboutness_preflight estimates what it takes.",
            f"{songs:,}",
        )
        return
    counter = by_characters()  # the tokenizer would take a second and 140 MB of every run
    terms = await session.terms()
    found = await estimate_backfill(session, terms, counter)
    lines = [f"  {name}: {value}" for name, value in estimate_lines(found, terms.tariff, counter.source)]
    log.info(
        "Estimate for all %s songs of the catalogue that have no row:\n%s",
        f"{found.songs:,}",
        "\n".join(lines),
    )


async def _songs_left(session: Session, range_size: int, counter: TokenCounter) -> SongsLeft:
    """The songs without a row, page by page."""
    songs = packs = 0
    titles = artists = 0.0
    async for songs_of_range in _by_range(session, range_size):
        names = ((sent_title(song.title), sent_artist(song.artist)) for song in songs_of_range)
        part = songs_left(names, counter, [len(songs_of_range)], session.pack_size)
        songs += part.songs
        packs += part.packs
        titles += part.title_tokens
        artists += part.artist_tokens
    return SongsLeft(songs, packs, titles, artists)


async def _by_range(session: Session, range_size: int) -> AsyncIterator[Sequence[Song]]:
    """The songs without a row, cut as packs are cut: by range, and by page within a large one."""
    size = min(range_size, session.tuning.page_size)
    everything = SongIdRange.of_every_id(session.id_type)
    pages = session.songs.pages_without_row(everything, size)
    if session.id_type != "integer":  # a range is so many songs
        async for page in pages:
            yield page
        return
    cut: list[Song] = []
    async for page in pages:
        for song in page:
            if cut and (len(cut) == size or _cell(cut[0], range_size) != _cell(song, range_size)):
                yield cut
                cut = []
            cut.append(song)
    if cut:
        yield cut


def _cell(song: Song, range_size: int) -> int:
    """Which range an integer id lies in, as ranges are cut (domain.id_ranges)."""
    return (song.song_id - 1) // range_size if isinstance(song.song_id, int) else 0


async def _known_limits(session: Session, terms: Terms) -> RateLimits:
    """The lower one of what is configured and what the provider's headers stated."""
    requests, tokens = await seen_limits(session.operations, terms.limit_name)
    return RateLimits(
        _lower(terms.limits.requests_per_minute, requests), _lower(terms.limits.tokens_per_minute, tokens)
    )


def _lower(configured: int, seen: int) -> int:
    return min(filter(None, (configured, seen)), default=0)


async def _history(session: Session, terms: Terms, counter: TokenCounter) -> History:
    like = LikeRequests(
        session.table.table_id, terms.chat_model, terms.embedding_model, PROMPT_HASH, terms.reasoning_effort
    )
    return History(
        _billed_requests(await billed_chat(session.operations, like), counter),
        await billed_embeddings(session.operations, like),
    )


def _billed_requests(billed: Sequence[BilledChat], counter: TokenCounter) -> list[BilledRequest]:
    asked: set[tuple[str, str]] = set()
    requests = []
    for each in billed:
        songs = {(each.run_id, song_id) for song_id in each.song_ids}
        requests.append(
            BilledRequest(
                len(each.songs),
                sum(counter.name(sent_title(title)) for title, _ in each.songs),
                sum(counter.name(sent_artist(artist)) for _, artist in each.songs),
                each.prompt_tokens,
                each.completion_tokens,
                each.cached_tokens,
                each.cache_write_tokens,
                is_repeat=each.kind == "single_song" or not songs.isdisjoint(asked),
            )
        )
        asked |= songs
    return requests

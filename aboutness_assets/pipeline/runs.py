"""The kinds of runs: create partitions, fill ranges, fill a few songs, try failed songs again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from aboutness_assets.database.postgres_errors import DatabaseError
from aboutness_assets.database.service import catalogue as songs_of
from aboutness_assets.database.service.range_boundaries import new_ranges
from aboutness_assets.domain.errors import FatalError, first_error
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import Song
from aboutness_assets.pipeline.backfill_progress import Audience, Scope, told
from aboutness_assets.pipeline.estimating import log_estimate
from aboutness_assets.pipeline.filling import Filling
from aboutness_assets.pipeline.preflight import few, first_songs_of, require_writable
from aboutness_assets.pipeline.report import Report, why_no_song_got_a_row
from aboutness_assets.pipeline.run_budget import CapReached
from aboutness_assets.pipeline.session import Catalogue, Session

SMOKE_SONGS = 50
"""Songs of a smoke run (CONTRACT: aboutness_smoke)."""

CATALOGUE_IS_EMPTY = (
    "The catalogue is empty, so nothing was tried: ABOUTNESS_SONGS_QUERY yields no song that the role of "
    "DATABASE_URL may see. Check database, schema and row-level security."
)


async def create_partitions(
    catalogue: Catalogue,
    read_keys: Callable[[], Sequence[str]],
    add_keys: Callable[[Sequence[str]], None],
    log: logging.Logger,
) -> list[str]:
    """Add partition keys until every song of the catalogue lies in a range; returns those that were added.

    One process at a time: two at once could cut text ids at different songs.
    """
    async with catalogue.exclusively(log):
        existing = read_keys()
        async with catalogue.songs_pool.connection() as connection:
            new = await new_ranges(connection, catalogue.songs_query, existing, catalogue.range_size)
        if new:
            add_keys(new)
        return new


async def fill_ranges(
    session: Session,
    range_keys: Sequence[str],
    run_id: str,
    log: logging.Logger,
    done: Callable[[str, Report], None],
    audience: Audience | None = None,
) -> None:
    """Write a row for every song of the ranges that has none; ``done`` hears of each range as it is finished.

    Of a range none of whose songs got a row it hears at the end, if other ranges fared better. audience: is
    told now and then how far the run and its backfill are.
    Raises SettingsError, InvalidPartitionKey, or FatalError when no song can survive, where what was under
    way is awaited and written first, and when songs were to be written and none was.
    """
    ranges = {key: SongIdRange.from_key(key, session.id_type) for key in range_keys}
    free = asyncio.Semaphore(session.tuning.ranges_at_once)
    reports: dict[str, Report] = {}
    fruitless: list[str] = []

    async def finish(filling: Filling, key: str) -> None:
        await filling.shared.hold.certain()
        await filling.account(session.range_run(key, run_id), reports[key])
        done(key, reports[key])

    async def fill(filling: Filling, key: str, song_id_range: SongIdRange) -> None:
        try:
            songs, with_row = await session.songs.range_counts(song_id_range)
            report = reports[key] = Report(songs_in_range=songs, songs_skipped_existing=with_row)
            filling.shared.progress.counts_itself(key)
            pages = session.songs.pages_without_row(song_id_range, session.tuning.page_size)
            if await filling.fill(session.range_run(key, run_id), pages, report):
                if why_no_song_got_a_row([report]):
                    fruitless.append(key)
                else:
                    await finish(filling, key)
        finally:
            free.release()

    async with (
        session.exclusively(list(ranges), log) as hold,
        session.filling(log, hold, ranges=len(ranges)) as filling,
        _told(session, filling, Scope(run_id, list(ranges)), audience, log),
    ):
        to_try = await first_songs_of(session.songs, list(ranges.values()))
        await require_writable(session, to_try, log)
        await log_estimate(session, log)
        try:
            async with asyncio.TaskGroup() as group:
                for key, song_id_range in ranges.items():
                    await free.acquire()
                    if filling.shared.stop.error is not None:
                        break
                    group.create_task(fill(filling, key, song_id_range))
        except BaseExceptionGroup as errors:
            raise first_error(errors, (FatalError, DatabaseError)) from errors
        await _raise_if_stopped(session, filling)
        if why := why_no_song_got_a_row(reports.values()):
            raise FatalError(why)
        for key in fruitless:
            await finish(filling, key)


async def fill_first_songs(
    session: Session,
    run_id: str,
    log: logging.Logger,
    number: int = SMOKE_SONGS,
    audience: Audience | None = None,
) -> tuple[list[Song], Report]:
    """Write rows for the first songs without one; these songs, and what was done.

    Raises SettingsError, or FatalError when no song can survive or the catalogue is empty.
    """
    async with session.exclusively(None, log) as hold, session.filling(log, hold) as filling:
        async with session.service_pool.connection() as connection:
            songs = await songs_of.songs_without_row(connection, session.songs_query, session.id_type, number)
            if not songs and await songs_of.coverage(connection, session.songs_query) == (0, 0):
                raise FatalError(CATALOGUE_IS_EMPTY)
        await require_writable(session, few([song.song_id for song in songs]), log)
        await log_estimate(session, log)
        run = session.range_run("smoke", run_id)
        async with _told(session, filling, Scope(run_id, ["smoke"], len(songs)), audience, log):
            report = await _fill_chosen(session, filling, run, songs)
        await filling.account(run, report)
        return songs, report


async def replay_failed(
    session: Session,
    run_id: str,
    log: logging.Logger,
    *,
    cause: str | None,
    song_ids: Sequence[str],
    audience: Audience | None = None,
) -> Report:
    """Try failed songs again, quarantined ones too: those of a cause, those with these ids, or all.

    Answers that failed them are read again first, at no cost. Raises SettingsError, or FatalError when no
    song can survive, or songs were tried and none got a row.
    """
    async with session.exclusively(None, log) as hold, session.filling(log, hold) as filling:
        run = session.range_run("replay", run_id)
        failed_songs = session.failed_songs(run)
        chosen = await failed_songs.release(cause=cause, song_ids=song_ids)
        async with session.service_pool.connection() as connection:
            songs = await songs_of.chosen_without_row(
                connection, session.songs_query, session.id_type, chosen
            )
        await require_writable(session, few([song.song_id for song in songs]), log)
        # The others have a row by now, or have left the catalogue.
        waiting = {str(song.song_id) for song in songs}
        await failed_songs.forget([song_id for song_id in chosen if song_id not in waiting])
        async with _told(session, filling, Scope(run_id, ["replay"], len(songs)), audience, log):
            report = await _fill_chosen(session, filling, run, songs)
            if why := why_no_song_got_a_row([report]):
                raise FatalError(why)
        await filling.account(run, report)
        return report


def _told(
    session: Session, filling: Filling, scope: Scope, audience: Audience | None, log: logging.Logger
) -> AbstractAsyncContextManager[None]:
    return told(session, filling.shared.progress, filling.money.budget, scope, audience, log)


async def _fill_chosen(session: Session, filling: Filling, run: RangeRun, songs: Sequence[Song]) -> Report:
    report = Report(songs_in_range=len(songs))
    pages = _pages(songs, session.tuning.page_size)
    await filling.fill(run, pages, report)
    await _raise_if_stopped(session, filling)
    return report


async def _raise_if_stopped(session: Session, filling: Filling) -> None:
    """Raise why the run was stopped; at the cap with what is left to be done and what that takes."""
    error = filling.shared.stop.error
    if isinstance(error, CapReached):
        async with session.service_pool.connection() as connection:
            songs, with_row = await songs_of.coverage(connection, session.songs_query)
        left = filling.money.budget.what_is_left(songs - with_row, filling.shared.progress.songs_written)
        raise CapReached(f"{error} {left}") from error
    filling.shared.stop.raise_if_stopped()


async def _pages(songs: Sequence[Song], size: int) -> AsyncIterator[list[Song]]:
    for first in range(0, len(songs), size):
        yield list(songs[first : first + size])

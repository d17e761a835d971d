"""Replay: answers that an earlier run paid for are used before anything is asked, at no cost."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.database.operations.journal import Journal, KeptAnswer
from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.domain.errors import UnparsableAnswer
from aboutness_assets.domain.songs import Aboutness, Song, SongId
from aboutness_assets.generation.answer import read_texts
from aboutness_assets.generation.generator import GeneratedPack
from aboutness_assets.generation.packs import Pack
from aboutness_assets.pipeline.report import Report
from aboutness_assets.provider.wire import read_chat_body


class Replay:
    """The kept answers of one range."""

    def __init__(
        self,
        journal: Journal,
        table: AboutnessTable,
        pool: ServicePool,
        report: Report,
        log: logging.Logger,
    ) -> None:
        self._journal = journal
        self._table = table
        self._pool = pool
        self._report = report
        self._log = log
        self._kept: dict[int, KeptAnswer] = {}

    async def begin(self) -> None:
        """Settle what a dead run left in flight, and kept answers whose songs have their rows by now."""
        orphaned = await self._journal.settle_orphaned_requests()
        if orphaned.requests:
            self._log.warning(
                "%d requests were in flight when an earlier run died; whether they were billed is not known "
                "(at most $%.4f). Their songs are asked again.",
                orphaned.requests,
                orphaned.max_usd,
            )
        self._kept |= {kept.request_id: kept for kept in await self._journal.kept_answers_of_range()}
        await self.settle_used()

    async def use(
        self, songs: dict[SongId, Song], records: Mapping[str, FailedSongRecord]
    ) -> list[GeneratedPack]:
        """What kept answers hold for these songs; the songs that they serve are taken out of ``songs``.

        These are answers that no run came to use, and those that failed a song: a better parser may by now
        be able to read them.
        """
        kept = await self._journal.kept_answers(list(songs.values()))
        self._kept |= {answer.request_id: answer for answer in kept}
        once_failed = [request_id for record in records.values() for request_id in record.request_ids]
        if once_failed:
            kept += await self._journal.answers(once_failed)
        packs = []
        for answer in kept:
            written = [
                (song, aboutness) for song, aboutness in _read(answer) if songs.get(song.song_id) == song
            ]
            for song, _ in written:
                del songs[song.song_id]
            self._report.answers_replayed += bool(written)
            packs.append(GeneratedPack(written=written))
        return packs

    async def settle_used(self, given_up: Collection[SongId] = ()) -> None:
        """Settle kept answers of which every readable song has its row by now, or was given up."""
        serves = {
            request_id: {song.song_id for song, _ in _read(kept)} for request_id, kept in self._kept.items()
        }
        wanted = set().union(*serves.values())
        there = await self._table.existing(self._pool, wanted) if wanted else set()
        done = [request_id for request_id, song_ids in serves.items() if song_ids <= there | set(given_up)]
        if done:
            await self._journal.settle(done)
            for request_id in done:
                del self._kept[request_id]


def _read(kept: KeptAnswer) -> list[tuple[Song, Aboutness]]:
    """The readable entries of a kept answer; reading it again costs nothing."""
    try:
        chat = read_chat_body(kept.answer)
    except UnparsableAnswer:
        return []
    read = read_texts(chat, Pack(kept.songs))
    return [(song, read.written[song.song_id]) for song in kept.songs if song.song_id in read.written]

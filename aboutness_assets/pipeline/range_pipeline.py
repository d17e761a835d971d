"""The pipeline of one range: pages of songs -> packs -> answers -> texts -> vectors -> rows -> a report.

Packs are generated concurrently; what is written is embedded and inserted as it comes, so that at any
moment little more is in memory than what is in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aboutness_assets.database.hold import Hold
from aboutness_assets.database.postgres_errors import DatabaseError
from aboutness_assets.domain.errors import FatalError, first_error
from aboutness_assets.domain.songs import Cause, Song
from aboutness_assets.generation.generator import generate
from aboutness_assets.generation.packs import Pack, packs_of
from aboutness_assets.generation.prompt import sent_artist, sent_title
from aboutness_assets.limits.breaker import CircuitBreaker
from aboutness_assets.pipeline.bookings import Accounts
from aboutness_assets.pipeline.brake import DatabaseBrake
from aboutness_assets.pipeline.failures import Failures
from aboutness_assets.pipeline.meter import Meter
from aboutness_assets.pipeline.paid_requests import PaidRequests
from aboutness_assets.pipeline.progress import Progress
from aboutness_assets.pipeline.refusals import Refusals
from aboutness_assets.pipeline.replay import Replay
from aboutness_assets.pipeline.sink import Sink
from aboutness_assets.pipeline.stop import Stop

TEXT_CAUSES: frozenset[Cause] = frozenset(
    {
        "refused",
        "content_filter",
        "unparsable",
        "missing",
        "unusable_text",
        "bad_confidence",
        "another_song",
    }
)
EMBEDDING_CAUSES: frozenset[Cause] = frozenset({"embedding"})
"""Causes that may be a song's own fault or the endpoint's: of the chat model, of the embedding model."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all ranges of a run share.

    unfinished: a place per pack, of all ranges, that is asked for or waits to be; bounds the memory. hold:
    whether the ranges are surely this run's.
    """

    breaker: CircuitBreaker
    embedding_breaker: CircuitBreaker
    progress: Progress
    unfinished: asyncio.Semaphore
    pack_size: int
    brake: DatabaseBrake
    hold: Hold
    meter: Meter
    stop: Stop = field(default_factory=Stop)
    refusals: Refusals = field(default_factory=Refusals)


class RangePipeline:
    """The pipeline of one run over one range (or over the songs of a smoke run)."""

    def __init__(
        self,
        requests: PaidRequests,
        replay: Replay,
        sink: Sink,
        failures: Failures,
        accounts: Accounts,
        shared: Shared,
    ) -> None:
        self._requests = requests
        self._replay = replay
        self._sink = sink
        self._failures = failures
        self._accounts = accounts
        self._shared = shared
        self._was_cut = False

    async def fill(self, pages: AsyncIterator[list[Song]]) -> bool:
        """Write a row for every song of the pages that can have one.

        A FatalError of any request stops the run: what is under way is awaited and written, then False comes
        back. Raises FatalError where not even that is possible, as when our own Postgres is away.
        """
        report, progress = self._accounts.report, self._shared.progress
        progress.begin(report)
        await self._replay.begin()
        try:
            async with asyncio.TaskGroup() as group:
                self._sink.start(group)
                await self._generate(pages)
                await self._sink.finish()
        except BaseExceptionGroup as errors:
            raise first_error(errors, (FatalError, DatabaseError)) from errors
        await self._replay.settle_used(self._sink.texts_that_do_not_fit)
        if not self._is_cut:
            await self._judge()
        if not self._is_cut:
            progress.end(report)
        return not self._is_cut

    async def _judge(self) -> None:
        """Count failures as attempts of their songs, unless they may be the endpoint's fault.

        Where the latest answers leave that open, a harmless song decides: if it fails too, the run stops.
        """
        judged = (
            (TEXT_CAUSES, self._shared.breaker, self._requests.answers_harmless),
            (EMBEDDING_CAUSES, self._shared.embedding_breaker, self._sink.embeds_harmless),
        )
        for causes, breaker, passes in judged:
            if self._failures.uncounted(causes) and not breaker.is_sound:
                try:
                    if not await passes():
                        raise breaker.blame()
                except FatalError as error:
                    self._was_cut = True
                    self._accounts.stop.because(error)
                    return
            await self._failures.count_attempts(causes)

    @property
    def _is_cut(self) -> bool:
        """Whether songs of this range were left out because the run was stopped."""
        return self._was_cut or not self._sink.wrote_all

    async def _generate(self, pages: AsyncIterator[list[Song]]) -> None:
        """Ask for the texts of every song of the pages, until the run is stopped."""
        stop = self._accounts.stop
        is_checked = False
        async with asyncio.TaskGroup() as packs:
            async for page in pages:
                if not is_checked:
                    await self._check_embedding()
                    is_checked = True
                for pack in await self._packs_to_ask(page):
                    await self._shared.unfinished.acquire()
                    packs.create_task(self._generate_pack(pack))
                if stop.error is not None:
                    self._was_cut = True
                    return

    async def _check_embedding(self) -> None:
        try:
            await self._sink.check()
        except FatalError as error:
            self._accounts.stop.because(error)

    async def _packs_to_ask(self, page: list[Song]) -> list[Pack]:
        """Use the answers that were kept for songs of this page; packs of the songs that still need one."""
        songs = {song.song_id: song for song in page}
        records = await self._failures.records_of(page)
        self._failures.leave_refused_in_quarantine(songs, records)
        for pack in await self._replay.use(songs, records):
            await self._sink.put(pack)
        self._failures.leave_in_quarantine(songs, records)
        unknown = [
            song for song in songs.values() if not (sent_title(song.title) or sent_artist(song.artist))
        ]
        for song in unknown:
            del songs[song.song_id]
        await self._failures.add_unknown(unknown)
        return packs_of(list(songs.values()), self._shared.pack_size)

    async def _generate_pack(self, pack: Pack) -> None:
        stop = self._accounts.stop
        try:
            if stop.error is not None:
                self._was_cut = True
                return
            generated = await generate(pack, self._requests.ask, self._shared.breaker)
            if generated.error is not None:
                self._was_cut = True
                stop.because(generated.error)
            await self._failures.add(generated.failed, generated.request_ids)
            await self._sink.put(generated)
        finally:
            self._shared.unfinished.release()

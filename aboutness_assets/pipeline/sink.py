"""The sink: written packs gather, are embedded together and inserted; then their answers are settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from aboutness_assets.database.operations.journal import Journal
from aboutness_assets.database.service.aboutness_table import RefusedRow, Row
from aboutness_assets.domain.errors import FatalError, ProviderUnavailable
from aboutness_assets.domain.songs import Aboutness, FailedSong, Song, SongId
from aboutness_assets.generation.generator import GeneratedPack
from aboutness_assets.limits.breaker import CircuitBreaker
from aboutness_assets.pipeline.bookings import Accounts, Booking, EmbeddingAccount
from aboutness_assets.pipeline.destination import Destination
from aboutness_assets.pipeline.failures import Failures
from aboutness_assets.pipeline.report import SAMPLE_SIZE
from aboutness_assets.provider.embedder import Embedder
from aboutness_assets.provider.wire import NoVector

WORKERS = 4
"""Embedding requests of one range under way at once; meanwhile written packs gather for the next ones."""

GATHER_SECONDS = 1.0
"""How long a written pack waits at most for others to fill its embedding request."""

_HARMLESS_TEXT = "quiet joy"


class Sink:
    """Takes the packs of one range and writes their rows, in tasks of the group it is started in.

    wrote_all: False once a FatalError kept packs from being written; later ones are dropped.
    texts_that_do_not_fit: songs whose texts can never be stored; their answers are of no more use.
    """

    def __init__(
        self,
        embedder: Embedder,
        destination: Destination,
        journal: Journal,
        failures: Failures,
        accounts: Accounts,
        breaker: CircuitBreaker,
        *,
        packs_per_embedding: int,
    ) -> None:
        self._embedder = embedder
        self._destination = destination
        self._journal = journal
        self._failures = failures
        self._accounts = accounts
        self._breaker = breaker
        self._packs_per_embedding = packs_per_embedding
        self._packs: asyncio.Queue[GeneratedPack | None] = asyncio.Queue(WORKERS * packs_per_embedding)
        self._gathering = asyncio.Lock()
        self.wrote_all = True
        self.texts_that_do_not_fit: set[SongId] = set()

    async def check(self) -> None:
        """Before any text is paid for: the vectors of this model fit the columns. Raises FatalError."""
        try:
            await self._embedder.check(self._booking())
        except ProviderUnavailable as unavailable:
            raise FatalError(
                f"No embedding can be had, so no text was asked for. {unavailable}"
            ) from unavailable

    async def embeds_harmless(self) -> bool:
        """Whether a plain word gets a usable vector. Raises FatalError where no request can be sent."""
        try:
            [vector] = await self._embedder.embed([_HARMLESS_TEXT], self._booking())
        except ProviderUnavailable:
            return False
        return not isinstance(vector, NoVector)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to take packs."""
        for _ in range(WORKERS):
            group.create_task(self._work())

    async def put(self, pack: GeneratedPack) -> None:
        """Hand over a pack; waits while too many are ahead of it."""
        self._accounts.budget.texts_came()
        await self._packs.put(pack)

    async def finish(self) -> None:
        """No pack will follow; the tasks end when the last is written."""
        for _ in range(WORKERS):
            await self._packs.put(None)

    async def _work(self) -> None:
        """Embed and insert until the end, which a None in the queue says.

        Where nothing can be written any more the run stops and packs are dropped: their answers are kept.
        """
        ended = False
        while not ended:
            async with self._gathering:  # one after the other, so that each request is filled
                packs, ended = await self._gather()
            try:
                if self.wrote_all:
                    await self._write(packs)
            except FatalError as error:
                self.wrote_all = False
                self._accounts.stop.because(error)
            finally:
                self._accounts.budget.texts_left(len(packs))

    async def _gather(self) -> tuple[list[GeneratedPack], bool]:
        """The packs of the next embedding request, and whether the range has ended."""
        packs: list[GeneratedPack] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as gathering:
                while len(packs) < self._packs_per_embedding:
                    pack = await self._packs.get()
                    if pack is None:
                        return packs, True
                    if not packs:
                        gathering.reschedule(asyncio.get_running_loop().time() + GATHER_SECONDS)
                    packs.append(pack)
        return packs, False

    async def _write(self, packs: Sequence[GeneratedPack]) -> None:
        """Embed and insert the texts of some packs, then settle the requests that they came from."""
        if not packs:
            return
        written = [text for pack in packs for text in pack.written]
        request_ids = [request_id for pack in packs for request_id in pack.request_ids]
        rows, failed = await self._embed(written, request_ids)
        to = self._destination
        inserted = await to.insert(rows)
        to.refusals.judge(inserted, self._failures.refused_before)
        failed += [_failed_song(row) for row in inserted.refused]
        await self._failures.add(failed)
        lost = {failure.song_id for failure in failed}
        useless = {row.song_id for row in inserted.refused if row.text_does_not_fit}
        self.texts_that_do_not_fit |= useless
        await self._journal.settle(
            [
                request_id
                for pack in packs
                if not any(song.song_id in lost - useless for song, _ in pack.written)
                for request_id in pack.request_ids
            ]
        )
        await self._failures.delete([song.song_id for song, _ in written if song.song_id not in lost])
        report = self._accounts.report
        report.songs_written += inserted.written
        report.songs_skipped_existing += inserted.already_there
        report.songs_found_written += inserted.already_there
        room = SAMPLE_SIZE - len(report.sample)
        report.sample += [text for text in written if text[0].song_id not in lost][:room]
        self._judge(failed, len(rows))

    def _judge(self, failed: Sequence[FailedSong], embedded: int) -> None:
        """Let the breaker see which songs got their vectors; raises FatalError where too few did."""
        for _ in range(embedded):
            self._breaker.answer(usable=True)
        for failure in failed:
            if failure.cause == "embedding":
                self._breaker.answer(usable=False, reason=failure.reason)

    async def _embed(
        self, written: Sequence[tuple[Song, Aboutness]], request_ids: Sequence[int]
    ) -> tuple[list[Row], list[FailedSong]]:
        if not written:
            return [], []
        texts = [about.emotions_text for _, about in written] + [about.moments_text for _, about in written]
        try:
            vectors = await self._embedder.embed(texts, self._booking(request_ids))
        except ProviderUnavailable as unavailable:
            return [], [
                FailedSong(song.song_id, "provider_unavailable", str(unavailable)) for song, _ in written
            ]
        rows, failed = [], []
        for (song, about), emotions, moments in zip(
            written, vectors[: len(written)], vectors[len(written) :], strict=True
        ):
            if isinstance(emotions, NoVector):
                failed.append(_without_vector(song, "emotions", emotions))
            elif isinstance(moments, NoVector):
                failed.append(_without_vector(song, "moments", moments))
            else:
                rows.append(Row(song.song_id, about, emotions, moments))
        return rows, failed

    def _booking(self, request_ids: Sequence[int] = ()) -> Booking:
        accounts = self._accounts
        account = EmbeddingAccount(accounts.ledger, accounts.tariff, self._embedder.model, request_ids)
        return Booking(accounts, account)


def _without_vector(song: Song, name: str, lacking: NoVector) -> FailedSong:
    asked = "" if lacking.is_refused else ", asked for twice"
    reason = f"Its {name} text has no usable vector{asked}: {lacking.reason}."
    return FailedSong(song.song_id, "embedding", reason)


def _failed_song(row: RefusedRow) -> FailedSong:
    if row.text_does_not_fit:
        return FailedSong(row.song_id, "unusable_text", f"{row.reason} The next run asks for other texts.")
    return FailedSong(row.song_id, "insert", row.reason)

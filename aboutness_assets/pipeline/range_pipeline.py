"""The pipeline of one range: pages of songs -> packs -> answers -> texts -> vectors -> rows -> a report.

Packs are generated concurrently; what is written is embedded and inserted as it comes, so that at any
moment little more is in memory than what is in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

import psycopg
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.operations.failed_songs import FailedSongRecord, FailedSongs
from aboutness_assets.database.operations.journal import Journal, KeptAnswer
from aboutness_assets.database.service.aboutness_table import AboutnessTable, Row
from aboutness_assets.domain.errors import (
    FatalError,
    ProviderUnavailable,
    RequestRefused,
    UnparsableAnswer,
    first_error,
)
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.domain.songs import Aboutness, FailedSong, RequestKind, Song, SongId
from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.generation.answer import read_answer
from aboutness_assets.generation.cleaning import MAX_CHARACTERS
from aboutness_assets.generation.generator import Answer, GeneratedPack, generate
from aboutness_assets.generation.packs import Pack, packs_of
from aboutness_assets.generation.prompt import (
    PROMPT_HASH,
    chat_messages,
    estimated_tokens,
    response_format,
    sent_artist,
    sent_title,
)
from aboutness_assets.limits.breaker import CircuitBreaker
from aboutness_assets.money.prices import cost_usd
from aboutness_assets.pipeline.progress import Progress
from aboutness_assets.pipeline.report import SAMPLE_SIZE, Report
from aboutness_assets.provider.client import OpenAIClient, read_chat_body
from aboutness_assets.provider.embedder import Embedder

GRACE_SECONDS = 5.0
"""How long a stopping run still waits for answers that are under way: they are paid for."""

EMBED_WORKERS = 4
"""Embedding requests under way at once; while they are, written packs gather and fill the next ones."""

PACKS_PER_EMBEDDING = 50
"""Packs embedded and inserted at once at most: 1,000 texts with packs of 10, below OpenAI's 2,048 inputs."""

GATHER_SECONDS = 1.0
"""How long a written pack waits at most for others to fill its embedding request."""

MAX_EMBEDDING_TOKENS_PER_SONG = 2 * estimate_tokens("x" * MAX_CHARACTERS)
"""Tokens of a song's two texts, reserved under the cap together with the chat request that asks for them."""


class Backfill:
    """The pipeline of one run over one range (or over the songs of a smoke run).

    unfinished: a place for each pack, of all ranges, that is asked for or waits to be; bounds the memory.
    """

    def __init__(
        self,
        *,
        client: OpenAIClient,
        embedder: Embedder,
        journal: Journal,
        failed_songs: FailedSongs,
        breaker: CircuitBreaker,
        table: AboutnessTable,
        pool: AsyncConnectionPool,
        report: Report,
        log: logging.Logger,
        progress: Progress,
        pack_size: int,
        unfinished: asyncio.Semaphore,
    ) -> None:
        self._client = client
        self._embedder = embedder
        self._journal = journal
        self._failed_songs = failed_songs
        self._breaker = breaker
        self._table = table
        self._pool = pool
        self._report = report
        self._log = log
        self._pack_size = pack_size
        self._ready: asyncio.Queue[GeneratedPack | None] = asyncio.Queue(EMBED_WORKERS * PACKS_PER_EMBEDDING)
        self._gathering = asyncio.Lock()
        self._unfinished = unfinished
        self._kept: dict[int, KeptAnswer] = {}
        self._on_record: set[SongId] = set()
        self._fault: FatalError | None = None
        self._progress = progress

    async def fill(self, pages: AsyncIterator[list[Song]]) -> Report:
        """Write a row for every song of the pages that can have one.

        Raises FatalError when no song can survive; what is written stays, what is paid for is kept.
        """
        self._progress.begin(self._report)
        await self._settle_indeterminate()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(EMBED_WORKERS):
                    group.create_task(self._embed_and_insert())
                ready = False
                async with asyncio.TaskGroup() as packs:
                    async for page in pages:
                        if not ready:
                            await self._check_embedding()
                            ready = True
                        for pack in await self._packs_to_ask(page):
                            await self._unfinished.acquire()
                            packs.create_task(self._generate(pack))
                for _ in range(EMBED_WORKERS):
                    await self._ready.put(None)
        except BaseExceptionGroup as group_of_faults:
            raise first_error(group_of_faults, (FatalError, psycopg.Error)) from None
        finally:
            self._account()
        await self._settle_used_up()
        self._progress.end(self._report)
        return self._report

    async def _check_embedding(self) -> None:
        """Before any text is paid for: the vectors of this model fit the columns."""
        try:
            await self._embedder.check()
        except (ProviderUnavailable, RequestRefused) as fault:
            raise FatalError(f"No embedding can be had, so no text was asked for. {fault}") from None

    async def _packs_to_ask(self, page: list[Song]) -> list[Pack]:
        """Use the answers that were kept for songs of this page; packs of the songs that still need one."""
        records = await self._failed_songs.among(page)
        self._on_record |= {song.song_id for song in page if str(song.song_id) in records}
        songs = {song.song_id: song for song in page}
        await self._replay(songs, records)
        for song in page:
            record = records.get(str(song.song_id))
            if song.song_id in songs and record is not None and record.quarantined:
                del songs[song.song_id]
                self._leave_in_quarantine(song, record)
        unknown = [
            song for song in songs.values() if not (sent_title(song.title) or sent_artist(song.artist))
        ]
        for song in unknown:
            del songs[song.song_id]
        await self._fail(
            [
                FailedSong(song.song_id, "nothing_known", "The catalogue has neither a title nor an artist.")
                for song in unknown
            ]
        )
        return packs_of(list(songs.values()), self._pack_size)

    async def _replay(self, songs: dict[SongId, Song], records: Mapping[str, FailedSongRecord]) -> None:
        """Use answers that are paid for, and take the songs that they serve out of ``songs``.

        These are answers that no run came to use, and those that failed a song: a better parser may by now
        be able to read them.
        """
        kept = await self._journal.kept_answers(list(songs.values()))
        self._kept |= {answer.request_id: answer for answer in kept}
        once_failed = [request_id for record in records.values() for request_id in record.request_ids]
        if once_failed:
            kept += await self._journal.answers(once_failed)
        for answer in kept:
            replayed = [
                (song, aboutness) for song, aboutness in _read_kept(answer) if songs.get(song.song_id) == song
            ]
            for song, _ in replayed:
                del songs[song.song_id]
            self._report.answers_replayed += bool(replayed)
            await self._ready.put(GeneratedPack(written=replayed))

    def _leave_in_quarantine(self, song: Song, record: FailedSongRecord) -> None:
        reason = f"In quarantine after {record.attempts} runs, until replay_failed_songs. {record.reason}"
        self._log.warning("Song %s is left out (%s): %s", song.song_id, record.cause, reason)
        self._report.failed.append(FailedSong(song.song_id, record.cause, reason))

    async def _generate(self, pack: Pack) -> None:
        try:
            generated = await generate(pack, self._ask, self._breaker)
            await self._fail(generated.failed, generated.request_ids)
            await self._ready.put(generated)
        finally:
            self._unfinished.release()

    async def _ask(self, pack: Pack, kind: RequestKind) -> Answer:
        """One chat request. When the run is stopped, what is already sent may still come in and be kept."""
        sent = asyncio.Event()
        request = asyncio.create_task(self._send(pack, kind, sent))
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            if sent.is_set():
                await asyncio.wait({request}, timeout=GRACE_SECONDS)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            raise

    async def _send(self, pack: Pack, kind: RequestKind, sent: asyncio.Event) -> Answer:
        request_id = 0
        prompt_tokens, completion_tokens = estimated_tokens(pack)
        chat_usd = cost_usd(
            self._client.chat_model, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
        )
        embedding_usd = cost_usd(
            self._client.embedding_model, prompt_tokens=len(pack.songs) * MAX_EMBEDDING_TOKENS_PER_SONG
        )
        max_usd_estimate = None if chat_usd is None or embedding_usd is None else chat_usd + embedding_usd

        async def before_sending() -> None:
            nonlocal request_id
            if sent.is_set():
                return
            if self._fault is not None:
                raise self._fault  # it would meet the same fault
            request_id = await self._intend(pack, kind, max_usd_estimate)
            sent.set()
            if kind == "pack":
                self._report.batch_requests += 1
            else:
                self._report.single_song_requests += 1

        try:
            body = await self._client.chat(
                chat_messages(pack),
                response_format(pack),
                (prompt_tokens, completion_tokens),
                before_sending,
            )
        except (RequestRefused, FatalError, ProviderUnavailable) as failure:
            if isinstance(failure, FatalError):
                self._fault = failure
            if sent.is_set():
                await self._journal.unanswered(
                    request_id, maybe_paid=isinstance(failure, ProviderUnavailable)
                )
            raise
        chat = read_chat_body(body)
        usage = chat.usage
        usd = cost_usd(
            self._client.chat_model,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )
        await self._journal.answered(request_id, body, usage, usd, usd_to_come=embedding_usd)
        self._report.prompt_tokens += usage.prompt_tokens
        self._report.cached_tokens += usage.cached_tokens
        self._report.completion_tokens += usage.completion_tokens
        self._report.add_cost(usd)
        return Answer(request_id, chat.content, chat.finish_reason, chat.refusal)

    async def _intend(self, pack: Pack, kind: RequestKind, max_usd_estimate: float | None) -> int:
        """Record that a request is about to be sent; a run that is stopped meanwhile leaves no open entry."""
        intent = asyncio.ensure_future(
            self._journal.intend(
                pack.songs,
                kind,
                model=self._client.chat_model,
                prompt_hash=PROMPT_HASH,
                max_usd_estimate=max_usd_estimate,
            )
        )
        try:
            return await asyncio.shield(intent)
        except asyncio.CancelledError:
            await self._journal.unanswered(await intent, maybe_paid=False)
            raise

    async def _embed_and_insert(self) -> None:
        """Embed and insert until the end of the range, which a None in the queue says."""
        ended = False
        while not ended:
            async with self._gathering:  # one after the other, so that each request is filled
                packs, ended = await self._gather()
            if packs:
                await self._write(packs)

    async def _gather(self) -> tuple[list[GeneratedPack], bool]:
        """The packs of the next embedding request, and whether the range has ended."""
        packs: list[GeneratedPack] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as gathering:
                while len(packs) < PACKS_PER_EMBEDDING:
                    pack = await self._ready.get()
                    if pack is None:
                        return packs, True
                    if not packs:
                        gathering.reschedule(asyncio.get_running_loop().time() + GATHER_SECONDS)
                    packs.append(pack)
        return packs, False

    async def _write(self, packs: Sequence[GeneratedPack]) -> None:
        """Embed and insert the texts of some packs, then settle the requests that they came from."""
        written = [text for pack in packs for text in pack.written]
        rows, failed = await self._embed(written)
        inserted = await self._table.insert(self._pool, rows, self._log)
        failed += inserted.failed
        await self._fail(failed)
        lost = {failure.song_id for failure in failed}
        await self._journal.settle(
            [
                request_id
                for pack in packs
                if not any(song.song_id in lost for song, _ in pack.written)
                for request_id in pack.request_ids
            ]
        )
        await self._delete_failures([song.song_id for song, _ in written if song.song_id not in lost])
        self._report.songs_written += inserted.written
        self._report.songs_skipped_existing += inserted.already_there
        room = SAMPLE_SIZE - len(self._report.sample)
        self._report.sample += [text for text in written if text[0].song_id not in lost][:room]
        self._progress.log_if_due()

    async def _embed(self, written: Sequence[tuple[Song, Aboutness]]) -> tuple[list[Row], list[FailedSong]]:
        texts = [about.emotions_text for _, about in written] + [about.moments_text for _, about in written]
        try:
            vectors = await self._embedder.embed(texts) if texts else []
        except ProviderUnavailable as unavailable:
            return [], [
                FailedSong(song.song_id, "provider_unavailable", str(unavailable)) for song, _ in written
            ]
        rows, failed = [], []
        for (song, about), emotions, moments in zip(
            written, vectors[: len(written)], vectors[len(written) :], strict=True
        ):
            if emotions is None or moments is None:
                reason = "No usable vector came back for its texts, asked for twice."
                failed.append(FailedSong(song.song_id, "embedding", reason))
            else:
                rows.append(Row(song.song_id, about, emotions, moments))
        return rows, failed

    async def _fail(self, failures: Sequence[FailedSong], request_ids: Sequence[int] = ()) -> None:
        """Leave songs out for this run; request_ids: the answers that failed them."""
        if not failures:
            return
        for failure in failures:
            song = printable_line(str(failure.song_id))
            self._log.warning("Song %s failed (%s): %s", song, failure.cause, failure.reason)
        self._report.failed += failures
        await self._failed_songs.record(failures, request_ids=request_ids)

    async def _delete_failures(self, written: Sequence[SongId]) -> None:
        recovered = self._on_record.intersection(written)
        if recovered:
            await self._failed_songs.forget(recovered)

    async def _settle_indeterminate(self) -> None:
        dead = await self._journal.settle_orphaned_requests()
        self._report.indeterminate_requests = dead.requests
        self._report.indeterminate_usd_at_most = dead.max_usd_estimate
        if dead.requests:
            self._log.warning(
                "%d requests were in flight when an earlier run died; whether they were paid for "
                "is not known (at most $%.4f). Their songs are asked again.",
                dead.requests,
                dead.max_usd_estimate,
            )
        for kept in await self._journal.kept_answers_of_range():
            self._kept[kept.request_id] = kept
        await self._settle_used_up()

    async def _settle_used_up(self) -> None:
        """Settle kept answers of which every readable song has its row by now."""
        serves = {
            request_id: {song.song_id for song, _ in _read_kept(kept)}
            for request_id, kept in self._kept.items()
        }
        wanted = set().union(*serves.values())
        there = await self._table.existing(self._pool, wanted) if wanted else set()
        done = [request_id for request_id, song_ids in serves.items() if song_ids <= there]
        if done:
            await self._journal.settle(done)
            for request_id in done:
                del self._kept[request_id]

    def _account(self) -> None:
        self._report.embedding_requests = self._embedder.embedding_requests
        self._report.embedding_tokens = self._embedder.embedding_tokens
        self._report.add_cost(
            cost_usd(self._client.embedding_model, prompt_tokens=self._embedder.embedding_tokens)
        )
        self._report.rate_limited_requests = self._client.counts.rate_limited
        self._report.finish()


def _read_kept(kept: KeptAnswer) -> list[tuple[Song, Aboutness]]:
    """The readable entries of a kept answer; reading it again costs nothing."""
    try:
        chat = read_chat_body(kept.answer)
        if chat.refusal or chat.finish_reason == "content_filter":
            return []
        read = read_answer(chat.content or "", Pack(kept.songs))
    except UnparsableAnswer:
        return []
    return [(song, read.written[song.song_id]) for song in kept.songs if song.song_id in read.written]

"""One pack of songs to texts: ask, read, ask again for what is missing, fall back to single songs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.domain.errors import (
    ContentFiltered,
    FatalError,
    ProviderUnavailable,
    RequestRefused,
    UnparsableAnswer,
)
from aboutness_assets.domain.songs import Aboutness, Cause, FailedSong, RequestKind, Song
from aboutness_assets.generation.answer import ReadAnswer, read_texts, reject_all
from aboutness_assets.generation.packs import Pack
from aboutness_assets.limits.breaker import CircuitBreaker

SINGLE_SONG_ATTEMPTS = 2
"""Requests for a song alone before it fails for this run; a model may answer differently the second time."""

CUTS_FORGIVEN = 5
"""Answers to a song alone that may be cut by their limit without counting as an attempt: each lets the next
ones be longer (provider.chat)."""

_WORTH_ASKING_TOGETHER: tuple[Cause, ...] = ("missing", "unusable_text", "bad_confidence")


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one chat request, with the id under which the request was recorded."""

    request_id: int
    chat: ChatAnswer


class Ask(Protocol):
    """Sends one chat request for a pack.

    Raises RequestRefused (ContentFiltered), ProviderUnavailable or UnparsableAnswer where this request
    failed, FatalError where every request would.
    """

    async def __call__(self, pack: Pack, kind: RequestKind) -> Answered:
        """Ask for the texts of every song of the pack."""
        ...


@dataclass(slots=True)
class GeneratedPack:
    """What became of the songs of one pack, and the ids of the requests whose answers were used.

    error: why the run has to stop; songs that were not asked for any more are neither written nor failed.
    """

    written: list[tuple[Song, Aboutness]] = field(default_factory=list)
    failed: list[FailedSong] = field(default_factory=list)
    request_ids: list[int] = field(default_factory=list)
    error: FatalError | None = None


async def generate(pack: Pack, ask: Ask, breaker: CircuitBreaker) -> GeneratedPack:
    """Ask for the texts of a pack's songs until each song is written or failed.

    At most 2 + 2n requests for n songs: the pack, what it missed once more together, then each song that is
    left alone, twice; up to CUTS_FORGIVEN more for a song whose answers are cut by their limit. An answer
    that cannot be read at all, or a request that is refused, goes to single songs at once. A FatalError, the
    breaker's too, ends it: what is under way is awaited, since it is paid for, and nothing more is asked.
    """
    generation = _Generation(ask, breaker)
    failures = (await generation.request(pack, "pack")).failures
    together = [failure for failure in failures if failure.cause in _WORTH_ASKING_TOGETHER]
    if 1 < len(together) < len(pack.songs):
        others = [failure for failure in failures if failure not in together]
        again = await generation.request(_pack_of(pack.songs, together), "pack")
        failures = others + again.failures
    songs = {song.song_id: song for song in pack.songs}
    async with asyncio.TaskGroup() as group:
        for failure in failures:
            group.create_task(generation.request_single_song(songs[failure.song_id], failure))
    return generation.generated


def _pack_of(songs: Sequence[Song], failures: Sequence[FailedSong]) -> Pack:
    wanted = {failure.song_id for failure in failures}
    return Pack(tuple(song for song in songs if song.song_id in wanted))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The songs that one request left without texts.

    is_final: the same request would fail again. is_cut: its answer ended at its limit.
    """

    failures: list[FailedSong]
    is_final: bool
    is_cut: bool = False


_STOPPED = _Outcome([], is_final=True)


@dataclass(slots=True)
class _Generation:
    """The requests for one pack, and what they gave so far."""

    ask: Ask
    breaker: CircuitBreaker
    generated: GeneratedPack = field(default_factory=GeneratedPack)

    async def request(self, pack: Pack, kind: RequestKind, *, forgives_cut: bool = True) -> _Outcome:
        """Send one request, keep the texts of its answer, and let the breaker judge it.

        forgives_cut: an answer that ended at its limit is not judged, as a longer one may be asked for.
        """
        if self.generated.error is not None:
            return _STOPPED
        try:
            return await self._request(pack, kind, forgives_cut=forgives_cut)
        except FatalError as error:
            self.generated.error = error
            return _STOPPED

    async def _request(self, pack: Pack, kind: RequestKind, *, forgives_cut: bool) -> _Outcome:
        try:
            answered = await self.ask(pack, kind)
        except ContentFiltered as filtered:
            outcome = _Outcome(reject_all(pack, "content_filter", str(filtered)), is_final=True)
        except RequestRefused as refused:
            outcome = _Outcome(reject_all(pack, "refused", str(refused)), is_final=True)
        except ProviderUnavailable as unavailable:
            outcome = _Outcome(reject_all(pack, "provider_unavailable", str(unavailable)), is_final=True)
        except UnparsableAnswer as unparsable:
            outcome = _Outcome(reject_all(pack, "unparsable", str(unparsable)), is_final=False)
        else:
            read = read_texts(answered.chat, pack)
            self._keep(answered.request_id, read, pack)
            outcome = _Outcome(
                read.rejected,
                is_final=bool(answered.chat.refusal),
                is_cut=answered.chat.finish_reason == "length",
            )
        if not (outcome.is_cut and forgives_cut):
            self._judge(outcome.failures, pack)
        return outcome

    async def request_single_song(self, song: Song, failure: FailedSong) -> None:
        """Ask for a song alone that failed in its pack; a song without texts in the end has failed."""
        if failure.cause != "provider_unavailable":
            attempts, cuts = SINGLE_SONG_ATTEMPTS, CUTS_FORGIVEN
            while attempts:
                outcome = await self.request(Pack((song,)), "single_song", forgives_cut=cuts > 0)
                if not outcome.failures:
                    return  # written, or not asked for
                failure = outcome.failures[0]
                if outcome.is_final:
                    break
                if outcome.is_cut and cuts:
                    cuts -= 1
                else:
                    attempts -= 1
        self.generated.failed.append(failure)

    def _keep(self, request_id: int, read: ReadAnswer, pack: Pack) -> None:
        self.generated.request_ids.append(request_id)
        self.generated.written += [
            (song, read.written[song.song_id]) for song in pack.songs if song.song_id in read.written
        ]

    def _judge(self, failures: Sequence[FailedSong], pack: Pack) -> None:
        if len(failures) < len(pack.songs):
            self.breaker.answer(usable=True)
        elif failures[0].cause == "provider_unavailable":
            self.breaker.unavailable(failures[0].reason)
        else:
            self.breaker.answer(usable=False, reason=failures[0].reason)

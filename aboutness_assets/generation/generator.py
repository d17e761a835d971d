"""One pack of songs to texts: ask, read, ask again for what is missing, fall back to single songs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from aboutness_assets.domain.errors import (
    FatalError,
    ProviderUnavailable,
    RequestRefused,
    UnparsableAnswer,
    first_error,
)
from aboutness_assets.domain.songs import Aboutness, Cause, FailedSong, RequestKind, Song
from aboutness_assets.generation.answer import read_answer
from aboutness_assets.generation.packs import Pack
from aboutness_assets.limits.breaker import CircuitBreaker

SINGLE_SONG_ATTEMPTS = 2
"""Requests for one song alone before it fails for this run; a model may answer otherwise the second time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model answered to one request, as far as generation needs it."""

    request_id: int
    content: str | None
    finish_reason: str | None
    refusal: str | None


class Ask(Protocol):
    """Sends one chat request for a pack.

    Raises RequestRefused, ProviderUnavailable or UnparsableAnswer for this request, FatalError for all.
    """

    async def __call__(self, pack: Pack, kind: RequestKind) -> Answer:
        """Ask for the texts of every song of the pack."""
        ...


@dataclass(slots=True)
class GeneratedPack:
    """What became of the songs of one pack, and the requests whose answers serve them."""

    written: list[tuple[Song, Aboutness]] = field(default_factory=list)
    failed: list[FailedSong] = field(default_factory=list)
    request_ids: list[int] = field(default_factory=list)


async def generate(pack: Pack, ask: Ask, breaker: CircuitBreaker) -> GeneratedPack:
    """Texts for every song of a pack that the model can be brought to write.

    At most 2 + 2n requests for n songs: the pack, what it missed once more together, then each song
    that is left alone, twice. An answer that cannot be read at all, or a request that is refused, goes
    to single songs at once. Raises FatalError only, that of the breaker too.
    """
    generated = GeneratedPack()

    async def judged(pack: Pack, kind: RequestKind) -> list[FailedSong]:
        rejected = await _ask(pack, kind, ask, generated)
        _judge(rejected, pack, breaker)
        return rejected

    rejected = await judged(pack, "pack")
    together = [failure for failure in rejected if failure.cause in _WORTH_ASKING_TOGETHER]
    if 1 < len(together) < len(pack.songs):
        alone = [failure for failure in rejected if failure not in together]
        rejected = alone + await judged(_pack_of(pack.songs, together), "pack")
    songs = {song.song_id: song for song in pack.songs}
    try:
        # A global fault then cancels the requests for the other songs, which gather would leave running.
        async with asyncio.TaskGroup() as group:
            for failure in rejected:
                group.create_task(_alone(songs[failure.song_id], failure, judged, generated))
    except BaseExceptionGroup as group_of_faults:
        raise first_error(group_of_faults, (FatalError,)) from None
    return generated


_Judged: TypeAlias = Callable[[Pack, RequestKind], Awaitable[list[FailedSong]]]
"""One request whose answer the breaker has judged; gives the songs that it left without a text."""

_WORTH_ASKING_TOGETHER: tuple[Cause, ...] = ("missing", "unusable_text", "bad_confidence")


def _pack_of(songs: Sequence[Song], failures: Sequence[FailedSong]) -> Pack:
    wanted = {failure.song_id for failure in failures}
    return Pack(tuple(song for song in songs if song.song_id in wanted))


async def _alone(song: Song, failure: FailedSong, judged: _Judged, generated: GeneratedPack) -> None:
    for _ in range(SINGLE_SONG_ATTEMPTS):
        if failure.cause == "provider_unavailable":
            break
        rejected = await judged(Pack((song,)), "single_song")
        if not rejected:
            return
        failure = rejected[0]
        if failure.cause == "refused":
            break
    generated.failed.append(failure)


async def _ask(pack: Pack, kind: RequestKind, ask: Ask, generated: GeneratedPack) -> list[FailedSong]:
    """Ask once; what is good goes into generated, what is not comes back."""
    try:
        answer = await ask(pack, kind)
        generated.request_ids.append(answer.request_id)
        if answer.refusal:
            return _all(pack, "refused", f"The model refused: {answer.refusal[:200]}")
        if answer.finish_reason == "content_filter":
            return _all(pack, "content_filter", "The provider's content filter cut the answer.")
        if not answer.content:
            return _all(pack, "unparsable", "The answer holds no text.")
        read = read_answer(answer.content, pack)
    except UnparsableAnswer as unparsable:
        return _all(pack, "unparsable", str(unparsable))
    except RequestRefused as refused:
        return _all(pack, "refused", str(refused))
    except ProviderUnavailable as unavailable:
        return _all(pack, "provider_unavailable", str(unavailable))
    generated.written += [
        (song, read.written[song.song_id]) for song in pack.songs if song.song_id in read.written
    ]
    return read.rejected


def _judge(rejected: Sequence[FailedSong], pack: Pack, breaker: CircuitBreaker) -> None:
    if len(rejected) < len(pack.songs):
        breaker.answer(usable=True)
    elif rejected[0].cause == "provider_unavailable":
        breaker.unavailable(rejected[0].reason)
    else:
        breaker.answer(usable=False, reason=rejected[0].reason)


def _all(pack: Pack, cause: Cause, reason: str) -> list[FailedSong]:
    return [FailedSong(song.song_id, cause, reason) for song in pack.songs]

"""Which requests are asked for one pack, whatever is answered; ``ask`` is a plain function in memory."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.domain.errors import (
    AboutnessError,
    ContentFiltered,
    FatalError,
    ProviderUnavailable,
    RequestRefused,
    UnparsableAnswer,
)
from aboutness_assets.domain.songs import RequestKind, Song
from aboutness_assets.generation.generator import CUTS_FORGIVEN, Answered, generate
from aboutness_assets.generation.packs import Pack
from aboutness_assets.limits.breaker import CircuitBreaker
from tests.support.model_answers import chat_of

NAMES = ["Amber", "Basalt", "Cedar", "Dune", "Ember", "Fjord", "Glacier", "Harbour", "Island", "Jasmine"]
SONGS = tuple(Song(number, name, "Artist") for number, name in enumerate(NAMES))
PACK = Pack(SONGS)


Reply = Callable[[Pack], str | ChatAnswer]


def content(pack: Pack, without: frozenset[int] = frozenset(), broken: frozenset[int] = frozenset()) -> str:
    """An answer with individual texts for every song, some missing, some without a usable text."""
    entries = {
        key: {
            "title": song.title,
            "emotions_text": "" if song.song_id in broken else f"longing for the {song.title}",
            "emotions_confidence": "high",
            "moments_text": f"walking past the {song.title} at dawn",
            "moments_confidence": "low",
        }
        for key, song in pack.keyed().items()
        if song.song_id not in without
    }
    return json.dumps({"songs": entries})


def lacking(*song_ids: int) -> Reply:
    return lambda pack: content(pack, without=frozenset(song_ids))


def failing(error: AboutnessError) -> Reply:
    def reply(pack: Pack) -> str:
        raise error

    return reply


def never() -> CircuitBreaker:
    return CircuitBreaker(unavailable=1000, bad_share=1, window=50)


@dataclass
class ScriptedAsk:
    """Answers by script, then honestly; remembers what was asked."""

    script: list[Reply] = field(default_factory=list)
    otherwise: Reply = content
    asked: list[tuple[RequestKind, list[int | str]]] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)

    async def __call__(self, pack: Pack, kind: RequestKind) -> Answered:
        self.asked.append((kind, [song.song_id for song in pack.songs]))
        number = len(self.asked)
        reply = self.script.pop(0) if self.script else self.otherwise
        await asyncio.sleep(0)
        replied = reply(pack)
        self.answered.append(number)
        return Answered(number, chat_of(replied) if isinstance(replied, str) else replied)


def singles(*song_ids: int) -> list[tuple[str, list[int]]]:
    return [("single_song", [song_id]) for song_id in song_ids]


async def test_a_whole_answer_takes_one_request() -> None:
    ask = ScriptedAsk()

    generated = await generate(PACK, ask, never())

    assert ask.asked == [("pack", list(range(10)))]
    assert [song for song, _ in generated.written] == list(SONGS)
    assert (generated.failed, generated.request_ids) == ([], [1])


async def test_several_missing_songs_are_asked_again_together_and_then_alone() -> None:
    ask = ScriptedAsk([lacking(2, 5, 7), lacking(5)])

    generated = await generate(PACK, ask, never())

    assert ask.asked[1:] == [("pack", [2, 5, 7]), *singles(5)]
    assert len(generated.written) == 10
    assert generated.request_ids == [1, 2, 3]


async def test_songs_with_unusable_texts_are_asked_again_together() -> None:
    ask = ScriptedAsk([lambda pack: content(pack, broken=frozenset({1, 2}))])

    await generate(PACK, ask, never())

    assert ask.asked[1:] == [("pack", [1, 2])]


async def test_one_missing_song_is_asked_for_alone() -> None:
    ask = ScriptedAsk([lacking(4)])

    await generate(PACK, ask, never())

    assert ask.asked[1:] == singles(4)


async def test_an_answer_without_any_song_of_the_pack_goes_to_single_songs() -> None:
    ask = ScriptedAsk([lacking(*range(10))])

    await generate(PACK, ask, never())

    assert ask.asked[1:] == singles(*range(10))


async def test_a_song_whose_entry_is_about_another_song_is_asked_for_alone() -> None:
    def swapped(pack: Pack) -> str:
        songs = json.loads(content(pack))["songs"]
        songs["1"], songs["2"] = songs["2"], songs["1"]
        return json.dumps({"songs": songs})

    ask = ScriptedAsk([swapped])

    generated = await generate(PACK, ask, never())

    assert ask.asked[1:] == singles(0, 1)
    assert len(generated.written) == 10


@pytest.mark.parametrize(
    "reply",
    [
        failing(UnparsableAnswer("no JSON")),
        failing(RequestRefused("HTTP 400")),
        failing(ContentFiltered("HTTP 400, content_filter")),
        lambda pack: "no JSON at all",
        lambda pack: chat_of(None),
        lambda pack: chat_of(None, refusal="I can't help with that"),
        lambda pack: chat_of(content(pack), "content_filter"),
    ],
)
async def test_an_answer_that_cannot_be_used_at_all_goes_to_single_songs_at_once(reply: Reply) -> None:
    ask = ScriptedAsk([reply])

    generated = await generate(PACK, ask, never())

    assert ask.asked[1:] == singles(*range(10))
    assert len(generated.written) == 10


@pytest.mark.parametrize(
    ("reply", "cause", "times"),
    [
        (failing(UnparsableAnswer("no JSON")), "unparsable", 2),
        (failing(RequestRefused("HTTP 400")), "refused", 1),
        (failing(ContentFiltered("HTTP 400, content_filter")), "content_filter", 1),
        (failing(ProviderUnavailable("HTTP 503")), "provider_unavailable", 1),
        (lambda pack: chat_of(None, refusal="I can't help with that"), "refused", 1),
        (lambda pack: chat_of("{", "content_filter"), "content_filter", 2),
        (lambda pack: chat_of(""), "unparsable", 2),
        (lambda pack: content(pack, without=frozenset({3})), "missing", 2),
        (lambda pack: content(pack, broken=frozenset({3})), "unusable_text", 2),
    ],
)
async def test_a_song_that_fails_alone_is_given_up(reply: Reply, cause: str, times: int) -> None:
    ask = ScriptedAsk([lacking(3)], otherwise=reply)

    generated = await generate(PACK, ask, never())

    assert ask.asked[1:] == singles(3) * times
    assert [(failure.song_id, failure.cause) for failure in generated.failed] == [(3, cause)]
    assert generated.failed[0].reason
    assert len(generated.written) == 9


async def test_when_the_provider_is_unavailable_no_song_is_asked_for_alone() -> None:
    ask = ScriptedAsk([failing(ProviderUnavailable("HTTP 503"))])

    generated = await generate(PACK, ask, never())

    assert len(ask.asked) == 1
    assert {failure.cause for failure in generated.failed} == {"provider_unavailable"}
    assert len(generated.failed) == 10


async def test_after_a_fatal_error_answers_under_way_are_kept_and_nothing_more_is_asked() -> None:
    asked: list[RequestKind] = []
    stopped = asyncio.Event()

    async def ask(pack: Pack, kind: RequestKind) -> Answered:
        asked.append(kind)
        (song, *others) = pack.songs
        if others:
            raise UnparsableAnswer("no JSON")
        if song == SONGS[-1]:
            stopped.set()
            raise FatalError("no quota")
        await stopped.wait()
        return Answered(len(asked), chat_of("no JSON" if song == SONGS[0] else content(pack)))

    generated = await generate(PACK, ask, never())

    assert str(generated.error) == "no quota"
    assert [song for song, _ in generated.written] == list(SONGS[1:-1])
    assert asked == ["pack", *["single_song"] * 10]  # the first song's second attempt is not made


async def test_a_fatal_error_of_the_pack_is_the_only_outcome_and_keeps_its_cause() -> None:
    cause = ConnectionError("reset")

    async def ask(pack: Pack, kind: RequestKind) -> Answered:
        assert kind == "pack"
        raise FatalError("no quota") from cause

    generated = await generate(PACK, ask, never())

    assert generated.error is not None
    assert generated.error.__cause__ is cause
    assert (generated.written, generated.failed) == ([], [])


def cut(pack: Pack) -> ChatAnswer:
    return chat_of('{"songs":{"1":{"title":"Am', finish_reason="length")


async def test_an_answer_that_is_cut_by_its_limit_is_asked_for_again_and_blames_nobody() -> None:
    strict = CircuitBreaker(unavailable=1, bad_share=0, window=1)
    ask = ScriptedAsk([cut] * (1 + CUTS_FORGIVEN))

    generated = await generate(Pack(SONGS[:1]), ask, strict)

    assert ask.asked[1:] == singles(*[0] * (CUTS_FORGIVEN + 1))
    assert (len(generated.written), generated.failed, generated.error) == (1, [], None)


async def test_the_entries_before_a_cut_are_used_and_only_the_others_are_asked_for_again() -> None:
    def cut_after_eight(pack: Pack) -> ChatAnswer:
        whole = content(pack)
        return chat_of(whole[: whole.index('"9"')], finish_reason="length")

    ask = ScriptedAsk([cut_after_eight])

    generated = await generate(PACK, ask, never())

    assert ask.asked[1:] == [("pack", [8, 9])]
    assert len(generated.written) == 10


async def test_answers_that_are_cut_without_end_fail_the_song_and_count_for_the_breaker() -> None:
    ask = ScriptedAsk(otherwise=cut)

    generated = await generate(Pack(SONGS[:1]), ask, never())
    stopped = await generate(Pack(SONGS[:1]), ask, CircuitBreaker(unavailable=1, bad_share=0, window=1))

    assert [failure.cause for failure in generated.failed] == ["unparsable"]
    assert stopped.error is not None


REPLIES = st.sampled_from(
    [
        content,
        lacking(0),
        lacking(1, 2),
        lacking(*range(10)),
        lambda pack: content(pack, broken=frozenset({3, 4})),
        lambda pack: "nonsense",
        lambda pack: chat_of(None, refusal="no"),
        failing(UnparsableAnswer("no JSON")),
        failing(RequestRefused("HTTP 400")),
        failing(ProviderUnavailable("HTTP 503")),
    ]
)


@given(size=st.integers(1, 10), script=st.lists(REPLIES, max_size=30), otherwise=REPLIES)
def test_at_most_two_and_twice_n_requests_and_every_song_ends_once(
    size: int, script: list[Reply], otherwise: Reply
) -> None:
    pack = Pack(SONGS[:size])
    ask = ScriptedAsk(script, otherwise)

    generated = asyncio.run(generate(pack, ask, never()))

    assert len(ask.asked) <= 2 + 2 * size
    ended = [song.song_id for song, _ in generated.written] + [failed.song_id for failed in generated.failed]
    assert sorted(map(int, ended)) == list(range(size))
    assert sorted(generated.request_ids) == sorted(ask.answered)

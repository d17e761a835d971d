"""Failed songs: on record with cause and attempts, in quarantine after some runs, replayed on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import FailedSong
from aboutness_assets.generation.prompt import HARMLESS_PACK
from aboutness_assets.pipeline.runs import replay_failed
from aboutness_assets.provider.retries import Retries
from tests.support.backfills import LOG, Backfills, sample_songs
from tests.support.scripted_endpoint import (
    ScriptedEndpoint,
    answer_json,
    base64_vector,
    embeddings_answer,
)
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]
POISONED_ID, POISONED_TITLE, POISONED_ARTIST = sample_songs(10)[4]


def of_songs(make_service: MakeService, stand_in: StandIn, number: int = 10) -> Backfills:
    return Backfills(make_service(songs=sample_songs(number), vector_type="real[]"), stand_in)


def record(backfills: Backfills) -> list[tuple[Any, ...]]:
    return backfills.journal("select song_id, cause, attempts, quarantined from aboutness_ops.failed_song")


async def replay(backfills: Backfills, cause: str | None = None, *song_ids: str) -> int:
    async with backfills.session() as session:
        report = await replay_failed(session, "replay", LOG, cause=cause, song_ids=song_ids)
    return report.songs_written


async def test_a_failed_song_is_on_record_until_it_has_a_row(
    make_service: MakeService, stand_in: StandIn
) -> None:
    stand_in.control({"poison": {POISONED_TITLE: "refusal"}})
    backfills = of_songs(make_service, stand_in)

    await backfills.fill()
    assert record(backfills) == [(str(POISONED_ID), "refused", 1, False)]
    verdict = (await backfills.criteria())[-1]
    assert (verdict.name, verdict.passed, verdict.details["refused"]) == ("no_failed_songs", False, 1)
    assert verdict.failed_songs[0].song_id == str(POISONED_ID)

    stand_in.reset()
    await backfills.fill()
    assert record(backfills) == []
    assert (await backfills.criteria())[-1].passed


async def test_a_song_that_fails_in_run_after_run_is_not_paid_for_for_ever(
    make_service: MakeService, stand_in: StandIn
) -> None:
    stand_in.control({"poison": {POISONED_TITLE: "refusal"}})
    backfills = of_songs(make_service, stand_in)
    await backfills.fill(quarantine_after=2)
    await backfills.fill_in_vain(quarantine_after=2)
    assert record(backfills) == [(str(POISONED_ID), "refused", 2, True)]
    stand_in.reset()

    report = await backfills.fill(quarantine_after=2)

    assert backfills.packs() == []
    assert [(failed.song_id, failed.cause) for failed in report.failed] == [(POISONED_ID, "refused")]
    assert "quarantine after 2 runs" in report.failed[0].reason
    assert record(backfills) == [(str(POISONED_ID), "refused", 2, True)]


@pytest.mark.parametrize(
    ("cause", "song_ids", "written"),
    [
        (None, (), 1),
        ("refused", (), 1),
        (None, (str(POISONED_ID),), 1),
        ("content_filter", (), 0),
        (None, ("999",), 0),
    ],
)
async def test_a_quarantined_song_is_replayed_on_purpose(
    make_service: MakeService, stand_in: StandIn, cause: str | None, song_ids: tuple[str, ...], written: int
) -> None:
    stand_in.control({"poison": {POISONED_TITLE: "refusal"}})
    backfills = of_songs(make_service, stand_in)
    await backfills.fill(quarantine_after=1)
    stand_in.reset()

    assert await replay(backfills, cause, *song_ids) == written

    assert backfills.packs() == [[(POISONED_TITLE, POISONED_ARTIST)]] * written
    assert len(record(backfills)) == 1 - written


async def test_an_outage_burns_no_attempt_and_ends_in_no_quarantine(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = of_songs(make_service, stand_in)
    for _ in range(2):
        stand_in.control({"embeddings": {"script": [None] + ["http_503"] * 100}})
        await backfills.fill_in_vain(quarantine_after=1)
    assert {(cause, attempts, held) for _, cause, attempts, held in record(backfills)} == {
        ("provider_unavailable", 0, False)
    }
    stand_in.reset()
    assert (await backfills.fill(quarantine_after=1)).songs_written == 10
    assert backfills.packs() == []
    assert record(backfills) == []


async def test_an_answer_that_failed_a_song_is_read_again_by_a_better_parser_at_no_cost(
    make_service: MakeService, stand_in: StandIn
) -> None:
    """The parser of old is played by the journal: it holds an answer that the parser of today can read."""
    backfills = of_songs(make_service, stand_in, number=1)
    stand_in.control({"poison": {sample_songs(1)[0][1]: "refusal"}})
    await backfills.fill_in_vain(quarantine_after=1)
    stand_in.reset()
    readable = of_songs(make_service, stand_in, number=1)
    await readable.fill()
    (answer,) = readable.journal("select answer from aboutness_ops.chat_request")[0]
    backfills.arrange_own("update aboutness_ops.chat_request set answer = %s", [answer])
    stand_in.reset()

    report = await backfills.fill(quarantine_after=1)

    assert backfills.packs() == []
    assert (report.songs_written, report.answers_replayed) == (1, 1)
    assert backfills.texts() == readable.texts()
    assert record(backfills) == []


async def test_the_run_stops_when_the_provider_is_down_and_burns_no_attempts(
    make_service: MakeService, stand_in: StandIn
) -> None:
    stand_in.control({"chat": {"probabilities": {"http_503": 1.0}}})
    backfills = of_songs(make_service, stand_in, number=100)

    with pytest.raises(FatalError, match="the provider is down: 1 requests in a row"):
        await backfills.fill(breaker_unavailable=1, max_in_flight=1)

    assert backfills.requests()["chat"] <= 10
    assert [attempts for _, _, attempts, _ in record(backfills) if attempts] == []
    stand_in.reset()
    assert (await backfills.fill()).songs_written == 100


async def test_the_run_stops_when_most_answers_are_bad(make_service: MakeService, stand_in: StandIn) -> None:
    stand_in.control({"chat": {"probabilities": {"malformed_json": 1.0}}})
    backfills = of_songs(make_service, stand_in, number=300)

    with pytest.raises(FatalError, match="50 of the last 50 answers held nothing usable"):
        await backfills.fill(max_in_flight=4)

    assert 50 <= backfills.requests()["chat"] < 80
    assert backfills.rows() == {}


NO_USE = ["malformed_json", "http_400", "null_content", "refusal"]
"""Answers and refusals of a kind that a misconfigured endpoint gives to every request."""


@pytest.mark.parametrize("number", [1, 9, 50])
@pytest.mark.parametrize("fault", NO_USE)
async def test_no_song_of_a_small_run_pays_for_an_endpoint_that_gives_nothing_of_use(
    make_service: MakeService, stand_in: StandIn, fault: str, number: int
) -> None:
    stand_in.control({"chat": {"probabilities": {fault: 1.0}}})
    backfills = of_songs(make_service, stand_in, number=number)

    with pytest.raises(FatalError, match=r"nothing usable|is refused|refuses"):
        await backfills.fill(quarantine_after=1)

    assert backfills.rows() == {}
    assert [attempts for _, _, attempts, _ in record(backfills) if attempts] == []
    stand_in.reset()
    assert (await backfills.fill(quarantine_after=1)).songs_written == number
    assert record(backfills) == []


async def test_the_last_songs_of_a_catalogue_fail_by_their_own_fault_where_a_harmless_one_does_not(
    make_service: MakeService, stand_in: StandIn
) -> None:
    """Nothing else is left to be asked for, so no other answer speaks for the endpoint."""
    stand_in.control({"poison": {POISONED_TITLE: "refusal"}})
    backfills = of_songs(make_service, stand_in)
    await backfills.fill(quarantine_after=3)
    for attempts in (2, 3):
        stand_in.reset()
        stand_in.control({"poison": {POISONED_TITLE: "refusal"}})
        await backfills.fill_in_vain(quarantine_after=3)
        assert record(backfills) == [(str(POISONED_ID), "refused", attempts, attempts == 3)]
    harmless = [(song.title, song.artist) for song in HARMLESS_PACK.songs]
    assert backfills.packs().count(harmless) == 1


async def test_one_run_counts_as_one_attempt_however_often_it_is_counted(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = of_songs(make_service, stand_in)
    async with backfills.session() as session:
        failed_songs = session.failed_songs(session.range_run("range", "run"))
        await failed_songs.record([FailedSong(POISONED_ID, "refused", "no")], [])
        for _ in range(2):
            await failed_songs.count_attempts([POISONED_ID])
    assert record(backfills) == [(str(POISONED_ID), "refused", 1, False)]


async def test_what_a_body_without_an_answer_says_it_used_is_billed(
    make_service: MakeService, stand_in: StandIn
) -> None:
    usage = {"prompt_tokens": 900, "completion_tokens": 1, "total_tokens": 901}
    backfills = of_songs(make_service, stand_in, number=1)
    async with ScriptedEndpoint() as endpoint:
        endpoint.script(embeddings_answer({0: base64_vector([1.0] * 8)}))
        endpoint.otherwise = answer_json({"choices": [], "usage": usage})
        with pytest.raises(FatalError):
            await backfills.fill(openai_base_url=endpoint.base_url)
    states = backfills.journal(
        "select distinct state, prompt_tokens from aboutness_ops.spending where kind = 'chat'"
    )
    assert states == [("billed", 900)]


async def test_an_endpoint_that_goes_bad_at_the_end_of_a_run_blames_no_song(
    make_service: MakeService, stand_in: StandIn
) -> None:
    stand_in.control({"chat": {"script": [None] * 4, "probabilities": {"malformed_json": 1.0}}})
    backfills = of_songs(make_service, stand_in, number=50)

    with pytest.raises(FatalError, match="A harmless song fared no better, so no song is blamed"):
        await backfills.fill(quarantine_after=1, max_in_flight=1)

    assert len(backfills.rows()) == 40
    assert {attempts for _, _, attempts, _ in record(backfills)} == {0}


async def test_vectors_of_no_use_blame_no_song(make_service: MakeService, stand_in: StandIn) -> None:
    stand_in.control({"embeddings": {"script": [None], "probabilities": {"embedding_nan": 1.0}}})
    backfills = of_songs(make_service, stand_in, number=1)

    with pytest.raises(FatalError, match="songs got no usable vector"):
        await backfills.fill(quarantine_after=1)

    assert {attempts for _, _, attempts, _ in record(backfills)} == {0}
    stand_in.reset()
    assert (await backfills.fill(quarantine_after=1)).songs_written == 1
    assert backfills.packs() == []


async def test_rate_limits_do_not_stop_a_run(make_service: MakeService, stand_in: StandIn) -> None:
    stand_in.control({"chat": {"script": ["http_429"] * (Retries().attempts + 3)}})
    backfills = of_songs(make_service, stand_in, number=20)

    report = await backfills.fill(breaker_unavailable=1, breaker_bad_share=0)

    assert (report.songs_written, report.songs_failed) == (20, 0)

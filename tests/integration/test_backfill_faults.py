"""What a run does when the provider, the texts, the vectors or the tables are not as they should be."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from aboutness_assets.domain.errors import AboutnessError, FatalError, SettingsError
from aboutness_assets.generation.prompt import HARMLESS_PACK
from tests.support.backfills import QUICK, Backfills, sample_songs, valid
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

UNREACHABLE = "postgresql://nobody:sesame@127.0.0.1:1/nowhere"


def ten_songs(make_service: MakeService, stand_in: StandIn, **service: Any) -> Backfills:
    return Backfills(make_service(songs=sample_songs(10), **service), stand_in, tuning=QUICK)


def pack_sizes(backfills: Backfills) -> list[int]:
    return [len(pack) for pack in backfills.packs()]


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        ("dropped_key", [10, 1]),
        ("empty_text", [10, 1]),
        ("wrong_confidence", [10, 1]),
        ("swapped_keys", [10, 1, 1]),
        ("malformed_json", [10] + [1] * 10),
        ("null_content", [10] + [1] * 10),
        ("refusal", [10] + [1] * 10),
        ("content_filter", [10] + [1] * 10),
        ("http_400", [10, 10]),  # it may be about the form: a simpler one is tried, and the whole one again
        ("http_400_response_format", [10, 10]),
        ("http_500", [10, 10]),
        ("http_502", [10, 10]),
        ("connection_reset", [10, 10]),
        ("reset_mid_body", [10, 10]),
        ("html_instead_of_json", [10, 10]),
        ("http_429", [10, 10]),
        ("fenced_json", [10]),
        ("list_form", [10]),
        ("extra_key", [10]),
        ("confidence_tag", [10]),
        ("over_long_text", [10]),
        ("nul_character", [10]),
        ("lone_surrogate", [10]),
        ("newlines", [10]),
    ],
)
async def test_after_one_fault_only_what_is_missing_is_asked_again(
    make_service: MakeService, stand_in: StandIn, fault: str, asked: list[int]
) -> None:
    stand_in.control({"chat": {"script": [fault]}})
    backfills = ten_songs(make_service, stand_in)

    report = await backfills.fill()

    assert pack_sizes(backfills) == asked
    assert report.failed == []
    assert len(backfills.texts()) == 10
    assert all(map(valid, backfills.texts().values()))
    assert backfills.journal("select count(*) from aboutness_ops.chat_request where settled_at is null") == [
        (0,)
    ]


async def test_several_missing_songs_are_asked_again_together(
    make_service: MakeService, stand_in: StandIn
) -> None:
    """A cut answer lacks its second half."""
    stand_in.control({"chat": {"script": ["truncated_json"]}})
    backfills = ten_songs(make_service, stand_in)

    report = await backfills.fill()

    first, *others = backfills.packs()
    assert len(first) == 10
    assert [len(pack) for pack in others] == [len(others[0])]
    assert 1 < len(others[0]) < 10
    assert (report.batch_requests, report.single_song_requests) == (2, 0)
    assert len(backfills.rows()) == 10


async def test_a_hanging_request_is_given_up_and_sent_again(
    make_service: MakeService, stand_in: StandIn
) -> None:
    stand_in.control({"chat": {"script": ["hang"]}})
    backfills = ten_songs(make_service, stand_in)

    await backfills.fill(request_timeout=0.5)

    assert len(backfills.rows()) == 10


async def test_429_waits_as_the_server_or_the_settings_say_and_fails_no_song(
    make_service: MakeService, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    storm = ["http_429", "http_429_retry_after_ms", "http_429", "http_429", "http_429_retry_after"]
    stand_in.control({"chat": {"script": storm}})
    backfills = ten_songs(make_service, stand_in)
    caplog.set_level(logging.INFO)

    report = await backfills.fill(rate_limit_waits="0.1,0.25")

    for seconds in ("0.1", "0.2", "0.25", "1"):
        assert f"all chat requests wait {seconds} s" in caplog.text
    assert report.failed == []
    assert len(backfills.rows()) == 10
    assert (report.batch_requests, report.single_song_requests, report.rate_limited_requests) == (1, 0, 5)
    assert backfills.journal("select count(*) from aboutness_ops.chat_request") == [(1,)]


@pytest.mark.parametrize(
    ("fault", "cause", "times_asked"),
    [
        ("http_400", "refused", 7),  # the first request of all: it may be about the form
        ("refusal", "refused", 2),
        ("malformed_json", "unparsable", 3),
        ("null_content", "unparsable", 3),
        ("content_filter", "content_filter", 3),
    ],
)
async def test_a_poisoned_song_fails_for_good_and_the_others_go_on(
    make_service: MakeService,
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    cause: str,
    times_asked: int,
) -> None:
    (song_id, title, artist) = sample_songs(10)[4]
    stand_in.control({"poison": {title: fault}})
    backfills = ten_songs(make_service, stand_in)

    report = await backfills.fill()

    assert [(failure.song_id, failure.cause) for failure in report.failed] == [(song_id, cause)]
    assert report.failed[0].reason
    assert f"Song {song_id} failed ({cause}): {report.failed[0].reason}" in caplog.text
    assert backfills.rows().keys() == {str(song) for song, _, _ in sample_songs(10)} - {str(song_id)}
    assert backfills.times_asked()[str(title), str(artist)] == times_asked
    assert (report.songs_written, report.songs_failed) == (9, 1)


async def test_a_song_that_failed_is_asked_for_by_the_next_run(
    make_service: MakeService, stand_in: StandIn
) -> None:
    (_, title, artist) = sample_songs(10)[4]
    stand_in.control({"poison": {title: "refusal"}})
    backfills = ten_songs(make_service, stand_in)
    await backfills.fill()
    stand_in.reset()

    report = await backfills.fill()

    assert backfills.packs() == [[(title, artist)]]
    assert (report.songs_written, report.songs_failed) == (1, 0)


async def test_a_song_without_a_usable_vector_fails_and_its_text_is_not_paid_twice(
    make_service: MakeService, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.control({"embeddings": {"script": [None, "embedding_nan", "embedding_zero"]}})
    backfills = ten_songs(make_service, stand_in)

    report = await backfills.fill()

    assert [failure.cause for failure in report.failed] == ["embedding"]
    assert f"Song {report.failed[0].song_id} failed (embedding)" in caplog.text
    assert len(backfills.rows()) == 9
    stand_in.reset()
    again = await backfills.fill()
    assert backfills.packs() == []
    assert (again.songs_written, again.songs_failed, again.answers_replayed) == (1, 0, 1)


async def test_when_embeddings_are_unavailable_the_texts_are_kept_for_the_next_run(
    make_service: MakeService, stand_in: StandIn
) -> None:
    stand_in.control({"embeddings": {"script": [None] + ["http_503"] * 20}})
    backfills = ten_songs(make_service, stand_in)

    with pytest.raises(FatalError, match=r"No row was written: 10 songs .* provider_unavailable .*HTTP 503"):
        await backfills.fill()

    assert backfills.rows() == {}
    stand_in.reset()
    again = await backfills.fill()
    assert backfills.packs() == []
    assert (again.songs_written, len(backfills.rows())) == (10, 10)


async def test_a_row_that_postgres_refuses_fails_alone_and_its_text_is_not_paid_twice(
    make_service: MakeService, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    backfills = ten_songs(make_service, stand_in)
    backfills.arrange("alter table song_aboutness add constraint not_seven check (song_id <> 7)")

    report = await backfills.fill()

    assert [(failure.song_id, failure.cause) for failure in report.failed] == [(7, "insert")]
    assert "not_seven" in report.failed[0].reason
    assert "Song 7 failed (insert)" in caplog.text
    assert len(backfills.rows()) == 9
    stand_in.reset()
    backfills.arrange("alter table song_aboutness drop constraint not_seven")
    again = await backfills.fill()
    assert backfills.packs() == []
    assert (again.songs_written, len(backfills.rows())) == (1, 10)


BEFORE_ANY_TEXT: dict[str, tuple[dict[str, Any], dict[str, str], str, str]] = {
    # the endpoint's control, settings of the run, the administrator's statement, words of the fault
    "bad key": ({}, {"openai_api_key": "wrong"}, "", "OPENAI_API_KEY"),
    "no quota": ({"embeddings": {"script": ["insufficient_quota"]}}, {}, "", "quota"),
    "unknown embedding model": ({}, {"embedding_model": "missing-model"}, "", "ABOUTNESS_EMBEDDING_MODEL"),
    "wrong dimension": (
        {"embeddings": {"script": ["embedding_wrong_dimension"] * 2}},
        {},
        "",
        "hold vectors of 8 numbers",
    ),
    "embeddings down": ({"embeddings": {"script": ["http_503"] * 5}}, {}, "", "no text was asked for"),
    "missing table": ({}, {}, "drop table song_aboutness", "no table song_aboutness"),
    "missing column": (
        {},
        {},
        "alter table song_aboutness drop column moments_vector",
        "column moments_vector is missing",
    ),
    "missing catalogue": ({}, {}, "drop table songs", "ABOUTNESS_SONGS_QUERY"),
    "wrong songs query": ({}, {"songs_query": "select 1"}, "", "ABOUTNESS_SONGS_QUERY"),
    "no right to insert": ({}, {}, "revoke insert on song_aboutness from music_service", "no INSERT"),
    "no right to read": ({}, {}, "revoke select on songs from music_service", "ABOUTNESS_SONGS_QUERY"),
    "unreachable service": ({}, {"database_url": UNREACHABLE}, "", "DATABASE_URL"),
    "unreachable operations": ({}, {"dagster_pg_url": UNREACHABLE}, "", "DAGSTER_PG_URL"),
    "unreachable endpoint": ({}, {"openai_base_url": "http://127.0.0.1:1/v1"}, "", "no text was asked for"),
}


@pytest.mark.parametrize("case", BEFORE_ANY_TEXT)
async def test_what_no_song_can_survive_stops_the_run_before_a_text_is_paid_for(
    make_service: MakeService, stand_in: StandIn, case: str
) -> None:
    control, settings, statement, words = BEFORE_ANY_TEXT[case]
    stand_in.control(control)
    backfills = ten_songs(make_service, stand_in)
    if statement:
        backfills.arrange(statement)

    with pytest.raises(FatalError) as stopped:
        await backfills.fill(**settings)

    assert words in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert "sesame" not in str(stopped.value)
    assert backfills.packs() == []


@pytest.mark.parametrize(
    "settings", [{"database_url": ""}, {"dagster_pg_url": ""}, {"dagster_pg_url": "nonsense"}]
)
async def test_a_missing_setting_is_named_and_so_is_the_embedded_environment(
    make_service: MakeService, stand_in: StandIn, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DAGSTER_PG_URL", raising=False)

    with pytest.raises(SettingsError, match="|".join(settings).upper()):
        await ten_songs(make_service, stand_in).fill(**settings)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("insufficient_quota", "quota"),
        ("http_401", "OPENAI_API_KEY"),
        ("http_404_model", "ABOUTNESS_CHAT_MODEL"),
    ],
)
async def test_a_global_fault_in_the_midst_of_a_run_stops_it_and_loses_no_answer(
    make_service: MakeService, stand_in: StandIn, fault: str, words: str
) -> None:
    songs = sample_songs(60)
    stand_in.control({"chat": {"script": [None, None, fault], "probabilities": {fault: 1}}})
    backfills = Backfills(make_service(songs=songs), stand_in, tuning=QUICK)

    with pytest.raises(FatalError, match=words):
        await backfills.fill(max_in_flight=1)

    harmless = [(song.title, song.artist) for song in HARMLESS_PACK.songs]
    assert len([pack for pack in backfills.packs() if pack != harmless]) == 3
    assert backfills.packs().count(harmless) == (fault == "http_401")
    answered = {song for pack in backfills.packs()[:2] for song in pack}
    stand_in.reset()
    report = await backfills.fill()
    assert len(backfills.rows()) == 60
    assert report.failed == []
    assert backfills.times_asked().keys() == {(title, artist) for _, title, artist in songs} - answered
    assert report.uncertain_requests == 0


async def test_a_refusal_of_one_pack_by_any_status_costs_no_other_song_its_row(
    make_service: MakeService, stand_in: StandIn
) -> None:
    stand_in.control({"chat": {"script": [None, "http_403", None]}})
    backfills = Backfills(make_service(songs=sample_songs(30)), stand_in, tuning=QUICK)

    report = await backfills.fill(max_in_flight=1)

    assert (report.songs_written, report.failed) == (30, [])


async def test_the_spending_cap_stops_a_run_before_it_is_passed_and_answers_stay(
    make_service: MakeService, stand_in: StandIn
) -> None:
    songs = sample_songs(60)
    backfills = Backfills(
        make_service(songs=songs),
        stand_in,
        tuning=QUICK,
        settings_of_all_runs={"chat_model": "gpt-6-luna", "embedding_model": "text-embedding-3-small"},
    )
    cap = 0.003

    with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
        await backfills.fill(max_usd=cap)

    packs = backfills.packs()
    assert 0 < len(packs) < 6
    [(spent, uncertain, reserved)] = backfills.journal(
        "select billed_usd, uncertain_usd, reserved_usd from aboutness_ops.budget"
    )
    assert 0 < spent <= cap
    assert (uncertain, reserved) == (0, 0)
    assert len(backfills.rows()) == sum(map(len, packs)), "what was paid for did not become rows"
    stand_in.reset()
    report = await backfills.fill(max_usd=1)
    answered = {song for pack in packs for song in pack}
    assert backfills.times_asked().keys() == {(title, artist) for _, title, artist in songs} - answered
    assert len(backfills.rows()) == 60
    assert report.cost_usd is not None
    assert report.cost_usd > 0


@pytest.mark.parametrize(
    ("chat_model", "embedding_model"),
    [("of-unknown-price", "text-embedding-3-small"), ("gpt-6-luna", "of-unknown-price")],
)
async def test_a_cap_that_cannot_be_kept_is_refused_before_anything_is_paid_for(
    make_service: MakeService, stand_in: StandIn, chat_model: str, embedding_model: str
) -> None:
    backfills = ten_songs(make_service, stand_in)

    with pytest.raises(AboutnessError, match="ABOUTNESS_MAX_USD"):
        await backfills.fill(
            max_usd=1,
            chat_model=chat_model,
            embedding_model=embedding_model,
            chat_price=None,
            embedding_price=None,
        )

    assert backfills.packs() == []

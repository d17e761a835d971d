"""The estimate of a whole backfill against what it then used; estimating writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

import pytest

from aboutness_assets.money.estimate import Estimate
from aboutness_assets.money.figures import Figure
from aboutness_assets.money.token_counts import by_characters
from aboutness_assets.pipeline.estimating import LOGGED_BELOW_SONGS, estimate_backfill
from aboutness_assets.pipeline.session import open_unrecorded
from tests.support.backfills import ONE_OLD_STYLE_ROW, Backfills, CatalogueRow, sample_songs
from tests.support.database_contents import contents
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

SONGS, SMOKE_SONGS = 1_050, 50


async def estimated(backfills: Backfills, **overrides: object) -> Estimate:
    async with open_unrecorded(backfills.settings(**overrides)) as session:
        return await estimate_backfill(session, await session.terms(), by_characters())


def used(backfills: Backfills, *, since: int = 0) -> dict[str, float]:
    """What the ledger holds of entries after this one."""
    [row] = backfills.journal(
        "select sum(prompt_tokens) filter (where kind = 'chat'),"
        " sum(completion_tokens) filter (where kind = 'chat'),"
        " sum(prompt_tokens) filter (where kind = 'embedding'), sum(usd)::float8,"
        " count(*) filter (where kind = 'chat'), count(*) filter (where kind = 'embedding')"
        f" from aboutness_ops.attempt where attempt_id > {since} and state = 'billed'"
    )
    names = ("prompt", "completion", "embedding", "usd", "chat requests", "embedding requests")
    return dict(zip(names, row, strict=True))


def figures(found: Estimate) -> dict[str, Figure]:
    assert found.usd_standard is not None
    return {
        "prompt": found.prompt_tokens,
        "completion": found.completion_tokens,
        "embedding": found.embedding_tokens,
        "usd": found.usd_standard,
        "chat requests": found.chat_requests,
        "embedding requests": found.embedding_requests,
    }


@pytest.fixture
def backfills(make_service: MakeService, stand_in: StandIn) -> Backfills:
    return Backfills(make_service(songs=sample_songs(SONGS)), stand_in)


async def test_the_estimate_after_a_smoke_run_is_what_the_backfill_uses(backfills: Backfills) -> None:
    before = await estimated(backfills)
    await backfills.smoke()
    smoke = used(backfills)
    [(last,)] = backfills.journal("select max(attempt_id) from aboutness_ops.attempt")

    found = await estimated(backfills)
    await backfills.fill()

    truth = used(backfills, since=last)
    errors = {name: figure.expected / truth[name] - 1 for name, figure in figures(found).items()}
    assert (before.songs, before.billed_requests) == (SONGS, 0)
    assert (found.songs, found.billed_requests) == (SONGS - SMOKE_SONGS, 5)
    assert {n: e for n, e in errors.items() if n != "embedding requests" and abs(e) > 0.03} == {}
    whole = {name: smoke[name] + truth[name] for name in truth}
    outside = {
        (name, figure, of[name])
        for of, estimate in ((truth, found), (whole, before))
        for name, figure in figures(estimate).items()
        # The stand-in counts a quarter of a text's characters, by which a song's texts are 34 tokens.
        if not (of is whole and name == "embedding") and not figure.low <= of[name] <= figure.high
    }
    assert outside == set()


async def test_songs_that_have_a_row_are_not_estimated_and_a_full_table_takes_nothing(
    backfills: Backfills,
) -> None:
    half = "000000001-000000500"
    backfills.range_key = half
    await backfills.fill()
    [(rows,)] = backfills.look("select count(*) from song_aboutness")

    found = await estimated(backfills)

    assert rows > 0
    assert found.songs == SONGS - rows
    backfills.range_key = "000000501-000100000"
    await backfills.fill()
    done = await estimated(backfills)
    assert (done.songs, done.chat_requests, done.usd_standard) == (0, Figure(0, 0, 0), Figure(0, 0, 0))


async def test_requests_that_asked_again_raise_the_requests_to_come(
    backfills: Backfills, stand_in: StandIn
) -> None:
    await backfills.smoke()
    without = await estimated(backfills)
    backfills.range_key = "000000001-000000500"
    stand_in.control({"chat": {"script": ["dropped_key"] * 10}})
    await backfills.fill()

    found = await estimated(backfills)

    chat_requests = used(backfills)["chat requests"]
    assert chat_requests > 10
    assert found.billed_requests == chat_requests
    per_pack = found.chat_requests.expected / found.chat_requests.low
    assert per_pack > 1.03 > without.chat_requests.expected / without.chat_requests.low


async def test_of_another_prompt_model_or_table_nothing_counts(backfills: Backfills) -> None:
    await backfills.smoke()
    assert (await estimated(backfills)).billed_requests == 5
    assert (await estimated(backfills, chat_model="another")).billed_requests == 0
    assert (await estimated(backfills, reasoning_effort="high")).billed_requests == 0

    backfills.arrange_own("update aboutness_ops.attempt set table_id = 'another'")
    assert (await estimated(backfills)).billed_requests == 0
    backfills.arrange_own(
        "update aboutness_ops.attempt set table_id = (select min(table_id) from aboutness_ops.chat_request)"
    )
    assert (await estimated(backfills)).billed_requests == 5
    backfills.arrange_own("update aboutness_ops.chat_request set prompt_hash = 'another'")
    assert (await estimated(backfills)).billed_requests == 0


async def test_the_time_follows_the_lower_one_of_the_limits_that_are_set_and_seen(
    backfills: Backfills, stand_in: StandIn
) -> None:
    assert (await estimated(backfills)).minutes is None
    configured = (await estimated(backfills, requests_per_minute=10)).minutes
    assert configured is not None
    assert configured.low == pytest.approx(10.6, abs=0.11)

    stand_in.control({"limits": {"requests_per_minute": 600}})
    await backfills.smoke()
    seen = (await estimated(backfills)).minutes
    assert seen is not None
    assert seen.low == pytest.approx(100 / 600)
    above = (await estimated(backfills, requests_per_minute=6_000)).minutes
    assert above == seen


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        ("integer", [number * 3 - 100 for number in range(100)]),
        ("text", [f"é {number}" for number in range(100)]),
        ("uuid", [str(UUID(int=number)) for number in range(100)]),
    ],
)
async def test_packs_are_counted_by_range_whatever_the_ids(
    make_service: MakeService, stand_in: StandIn, id_type: str, ids: list[int | str]
) -> None:
    songs: list[CatalogueRow] = [(song_id, "Title", "Artist") for song_id in ids]
    backfills = Backfills(
        make_service(songs=songs, id_type=id_type), stand_in, settings_of_all_runs={"range_size": 15}
    )

    found = await estimated(backfills)

    assert found.songs == 100
    keys = await backfills.create_partitions([])
    for backfills.range_key in keys:
        await backfills.fill()
    assert used(backfills)["chat requests"] == found.chat_requests.low


async def test_estimating_writes_nothing(backfills: Backfills) -> None:
    backfills.arrange(ONE_OLD_STYLE_ROW, [1, "Old."])
    await estimated(backfills)  # creates our own schema
    before = contents(backfills.service.admin_url, "public")
    own_before = contents(backfills.service.ops_url, "aboutness_ops")

    found = await estimated(backfills)

    assert found.songs == SONGS - 1
    assert contents(backfills.service.admin_url, "public") == before
    assert contents(backfills.service.ops_url, "aboutness_ops") == own_before
    assert backfills.requests() == {}


async def test_a_run_logs_the_estimate_of_a_small_catalogue_and_names_the_job_for_a_large_one(
    backfills: Backfills, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await backfills.smoke()
    assert f"Estimate for all {SONGS:,} songs of the catalogue that have no row:" in caplog.text
    assert "dollars, standard: 0." in caplog.text
    assert "at a pretend price" in caplog.text

    backfills.arrange(
        "insert into songs select n, 'Title', 'Artist' from generate_series(200000, %s) as n",
        [200_000 + LOGGED_BELOW_SONGS],
    )
    backfills.arrange("analyze songs")
    caplog.clear()
    await backfills.fill()
    assert "Estimate for all" not in caplog.text
    assert "the job aboutness_preflight estimates" in caplog.text

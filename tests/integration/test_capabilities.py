"""Whole runs at endpoints that refuse parts of a request: every song gets its row, and none has failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import dagster as dg
import pytest

from aboutness_assets.definitions import defs
from aboutness_assets.domain.errors import FatalError
from tests.support.backfills import QUICK, Backfills, sample_songs
from tests.support.scripted_endpoint import Answer, Recorded, ScriptedEndpoint, answer_json, error
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

SONGS = 24
PACK_SIZE = 4

PAGE = Answer(b"<html><h1>Bad Request</h1></html>", 400)

MakeService = Callable[..., ServiceDatabase]


@pytest.fixture
def backfills(make_service: MakeService, stand_in: StandIn) -> Backfills:
    service = make_service(songs=sample_songs(SONGS))
    return Backfills(service, stand_in, settings_of_all_runs={"pack_size": PACK_SIZE}, tuning=QUICK)


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as endpoint:
        yield endpoint


def document(request: Recorded) -> list[dict[str, str]]:
    """The songs of a chat request: the last line of its last message is a JSON document."""
    last_line = request.body["messages"][-1]["content"].splitlines()[-1]
    songs: list[dict[str, str]] = json.loads(last_line)["songs"]
    return songs


def answers(request: Recorded) -> Answer:
    """An honest answer, of whatever form the request is."""
    usage = {"prompt_tokens": 50, "completion_tokens": 40, "total_tokens": 90}
    if request.path == "/embeddings":
        data = [
            {"index": index, "embedding": [float(len(text))] + [0.5] * 7}
            for index, text in enumerate(request.body["input"])
        ]
        return answer_json({"data": data, "usage": usage})
    songs = {
        song["key"]: {
            "title": song["title"],
            "emotions_text": f"longing number {number} for {song['artist'][:30]}",
            "emotions_confidence": "high",
            "moments_text": f"walking home number {number} past {song['artist'][:30]}",
            "moments_confidence": "low",
        }
        for number, song in enumerate(document(request))
    }
    message = {"role": "assistant", "content": json.dumps({"songs": songs})}
    return answer_json({"choices": [{"finish_reason": "stop", "message": message}], "usage": usage})


def has(body: dict[str, Any], part: str) -> bool:
    if part == "system":
        return any(message["role"] == "system" for message in body.get("messages", ()))
    if part.startswith("json"):
        return bool(body.get("response_format", {}).get("type") == part)
    return part in body


def refuses(parts: Sequence[str], refusal: Answer) -> Callable[[Recorded], Answer]:
    return lambda request: refusal if any(has(request.body, part) for part in parts) else answers(request)


@pytest.mark.parametrize(
    ("parts", "refusal"),
    [
        (["json_schema"], error(400, "The schema produces too many states.")),
        (["reasoning_effort", "encoding_format"], error(422, "Extra inputs are not permitted")),
        (
            ["json_schema", "json_object", "system", "max_completion_tokens"],
            PAGE,
        ),
        (["json_schema", "reasoning_effort"], error(500, "Internal Server Error")),
    ],
)
async def test_every_song_gets_its_row_at_an_endpoint_that_refuses_parts(
    backfills: Backfills, endpoint: ScriptedEndpoint, parts: list[str], refusal: Answer
) -> None:
    endpoint.otherwise = refuses(parts, refusal)
    report = await backfills.fill(openai_base_url=endpoint.base_url)
    assert len(backfills.rows()) == report.songs_written == SONGS
    assert report.songs_failed == 0
    assert backfills.journal("select * from aboutness_ops.failed_song") == []
    refused = [request for request in endpoint.requests if any(has(request.body, part) for part in parts)]
    assert len(refused) <= 16
    [(entries,)] = backfills.journal("select count(*) from aboutness_ops.spending")
    assert entries == len(endpoint.requests)
    # What every song was asked with once: no answer was paid for in vain.
    chat = [request for request in endpoint.requests if request.path != "/embeddings"]
    answered = [request for request in chat if request not in refused]
    assert sum(len(document(request)) for request in answered) == SONGS


async def test_a_later_run_knows_what_an_earlier_one_found(
    backfills: Backfills, endpoint: ScriptedEndpoint
) -> None:
    endpoint.otherwise = refuses(["json_schema", "encoding_format"], error(400, "Invalid argument."))
    await backfills.fill(openai_base_url=endpoint.base_url)
    backfills.arrange("delete from song_aboutness")
    backfills.arrange_own("delete from aboutness_ops.chat_request")
    endpoint.requests.clear()
    await backfills.fill(openai_base_url=endpoint.base_url)
    chat = [request for request in endpoint.requests if request.path != "/embeddings"]
    assert all(has(request.body, "json_object") for request in chat)
    assert not any(has(request.body, "encoding_format") for request in endpoint.requests)
    names = {name for (name,) in backfills.journal("select name from aboutness_ops.capability")}
    assert names == {
        *("response_format", "length limit", "system message", "reasoning_effort none", "encoding_format")
    }
    [(secret,)] = backfills.journal(
        "select count(*) from aboutness_ops.capability c where c::text like '%stand-in%'"
        " and model not like 'stand-in%'"
    )
    assert secret == 0


def test_what_endpoints_take_is_forgotten_by_a_command(
    backfills: Backfills, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(backfills.criteria())  # which creates our schema
    backfills.arrange_own(
        "insert into aboutness_ops.capability values ('chat', 'https://host', 'model', 'part', '1', now())"
    )

    monkeypatch.setenv("DATABASE_URL", backfills.service.url)
    monkeypatch.setenv("DAGSTER_PG_URL", backfills.service.ops_url)
    with dg.DagsterInstance.ephemeral() as instance:
        assert defs.resolve_job_def("forget_capabilities").execute_in_process(instance=instance).success
    assert backfills.journal("select * from aboutness_ops.capability") == []


async def test_an_endpoint_that_refuses_everything_stops_the_run_and_blames_no_song(
    backfills: Backfills, endpoint: ScriptedEndpoint
) -> None:
    endpoint.otherwise = lambda request: (
        answers(request) if request.path == "/embeddings" else error(400, "Your plan has no chat models.")
    )
    with pytest.raises(FatalError, match="Your plan has no chat models"):
        await backfills.fill(openai_base_url=endpoint.base_url)
    assert backfills.journal("select * from aboutness_ops.failed_song") == []
    assert len(endpoint.requests) <= 14


async def test_a_song_that_is_refused_first_fails_alone(
    backfills: Backfills, endpoint: ScriptedEndpoint
) -> None:
    bad = sample_songs(1)[0][1]
    endpoint.otherwise = lambda request: (
        error(400, "Inappropriate content.")
        if request.path != "/embeddings" and bad in request.body["messages"][-1]["content"]
        else answers(request)
    )
    report = await backfills.fill(openai_base_url=endpoint.base_url)
    assert (report.songs_written, report.songs_failed) == (SONGS - 1, 1)
    chat = [request for request in endpoint.requests if request.path != "/embeddings"]
    assert has(chat[-1].body, "json_schema")

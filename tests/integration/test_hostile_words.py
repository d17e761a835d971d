"""Songs and providers that mean harm: a whole run over them, its tables, its log and its records."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from aboutness_assets.orchestration.markdown import failed_songs_table, sample_table
from tests.support.backfills import QUICK, Backfills, valid
from tests.support.hostile_words import HOSTILE_WORDS
from tests.support.scripted_endpoint import (
    Answer,
    Recorded,
    ScriptedEndpoint,
    answer_json,
    base64_vector,
    embeddings_answer,
    error,
)
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

STORABLE = [words.replace("\0", "") for words in HOSTILE_WORDS]  # Postgres takes no NUL
SONGS = [(number, words, f"{words} by {number}") for number, words in enumerate(STORABLE, start=1)]


@pytest.fixture(autouse=True)
def inert_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After the test: nothing that a terminal obeys stands in our log."""
    caplog.set_level(logging.DEBUG, "backfills")
    yield
    lines = [record.getMessage() for record in caplog.get_records("call") if record.name == "backfills"]
    assert lines
    assert [line for line in lines if not line.isprintable()] == []


async def test_hostile_songs_get_rows_like_any_other_and_do_nothing_else(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=SONGS), stand_in, tuning=QUICK)

    report = await backfills.fill()

    assert (report.songs_written, report.failed) == (len(SONGS), [])
    texts = backfills.texts()
    assert all(map(valid, texts.values()))
    assert not any("HACKED" in text for row in texts.values() for text in row)
    assert backfills.look("select song_id, title, artist from songs order by song_id") == SONGS
    assert is_inert(sample_table(report))


@pytest.mark.parametrize("said_by", ["an error", "a passing error", "a refusal"])
async def test_what_a_provider_says_reaches_no_terminal_raw_and_can_be_kept(
    make_service: MakeService, stand_in: StandIn, said_by: str
) -> None:
    backfills = Backfills(make_service(songs=SONGS), stand_in, tuning=QUICK)
    turn = iter(range(1_000_000))

    def parrot(request: Recorded) -> Answer:
        """Says something hostile, whatever it is asked; in JSON, so that NUL and surrogates arrive too."""
        if request.path == "/embeddings":
            return embeddings_answer(
                {index: base64_vector([1.0] * 8) for index in range(len(request.body["input"]))}
            )
        number = next(turn)
        words = HOSTILE_WORDS[number % len(HOSTILE_WORDS)] + "\ud800\0"
        if said_by == "a refusal":
            return answer_json({"choices": [{"message": {"refusal": words}, "finish_reason": "stop"}]})
        return error(503 if said_by == "a passing error" and number % 2 == 0 else 400, words)

    async with ScriptedEndpoint() as endpoint:
        endpoint.otherwise = parrot
        report = await backfills.fill(openai_base_url=endpoint.base_url, breaker_bad_share=1, max_in_flight=1)

    assert sorted(failure.song_id for failure in report.failed) == [song_id for song_id, *_ in SONGS]
    assert all(failure.reason.isprintable() for failure in report.failed)
    assert is_inert(failed_songs_table(report))
    for failure in report.failed:  # as the record of failed songs does
        _store(backfills, failure.reason)


async def test_what_postgres_says_of_a_row_reaches_no_terminal_raw(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=SONGS[:3]), stand_in, tuning=QUICK)
    backfills.arrange(
        "create function speak() returns trigger language plpgsql as $$"
        " begin raise exception E'\\x1b[31mno\\r\\u202e %%', new.song_id; end $$;"
        " create trigger speaking before insert on song_aboutness for each row execute function speak()"
    )

    report = await backfills.fill()

    assert {failure.cause for failure in report.failed} == {"insert"}
    assert all(failure.reason.isprintable() for failure in report.failed)


async def test_hostile_ids_reach_no_terminal_raw(make_service: MakeService, stand_in: StandIn) -> None:
    ids = {words: (words, "", "") for words in STORABLE}
    backfills = Backfills(
        make_service(songs=[*ids.values()], id_type="text"), stand_in, range_key=":", tuning=QUICK
    )

    report = await backfills.fill()

    assert {failure.song_id for failure in report.failed} == ids.keys()


def is_inert(table: str) -> bool:
    """Whether a table of the UI holds printable lines only, but for the joiner that breaks addresses."""
    return all(line.replace("\u2060", "").isprintable() for line in table.splitlines())


def _store(backfills: Backfills, words: str) -> None:
    with psycopg.connect(backfills.service.ops_url) as connection:
        stored: Any = connection.execute("select %s::text", [words]).fetchone()
    assert stored == (words,)

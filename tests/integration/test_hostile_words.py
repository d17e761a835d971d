"""Songs and providers that mean harm: a whole run over them, its tables, its log and its records."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import FailedSong
from aboutness_assets.generation.prompt import HARMLESS_PACK
from aboutness_assets.orchestration.markdown import failed_songs_table, sample_table
from aboutness_assets.pipeline.report import Report
from tests.support.backfills import QUICK, Backfills, valid
from tests.support.hostile_words import HOSTILE_WORDS
from tests.support.scripted_endpoint import (
    Answer,
    Recorded,
    ScriptedEndpoint,
    answer_json,
    base64_vector,
    chat_answer,
    embeddings_answer,
    error,
)
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

STORABLE = [words.replace("\0", "") for words in HOSTILE_WORDS]  # Postgres takes no NUL
SONGS = [(number, words, f"{words} by {number}") for number, words in enumerate(STORABLE, start=1)]


HARMLESS_ANSWER = json.dumps(
    {
        "songs": {
            "1": {
                "emotions_text": "calm joy at the start of a day",
                "emotions_confidence": "low",
                "moments_text": "opening the window before breakfast",
                "moments_confidence": "low",
            }
        }
    }
)


@pytest.fixture(autouse=True)
def inert_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After the test: nothing that a terminal obeys stands in our log."""
    caplog.set_level(logging.DEBUG, "backfills")
    yield
    messages = [record.getMessage() for record in caplog.get_records("call") if record.name == "backfills"]
    assert messages
    # The estimate alone has several lines; no word from outside is in it.
    estimate = "Estimate for all "
    lines = [
        line for each in messages for line in (each.split("\n") if each.startswith(estimate) else [each])
    ]
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
        if HARMLESS_PACK.songs[0].title in json.dumps(request.body):
            return chat_answer(HARMLESS_ANSWER)
        number = next(turn)
        words = HOSTILE_WORDS[number % len(HOSTILE_WORDS)] + "\ud800\0"
        if said_by == "a refusal":
            return answer_json({"choices": [{"message": {"refusal": words}, "finish_reason": "stop"}]})
        return error(503 if said_by == "a passing error" and number % 2 == 0 else 400, words)

    async with ScriptedEndpoint() as endpoint:
        endpoint.otherwise = parrot
        with pytest.raises(FatalError) as stopped:
            await backfills.fill(openai_base_url=endpoint.base_url, breaker_bad_share=1, max_in_flight=1)

    assert str(stopped.value).isprintable()
    failed = [
        FailedSong(int(song_id), "refused", reason)
        for song_id, reason in backfills.journal("select song_id, reason from aboutness_ops.failed_song")
    ]
    assert sorted(failure.song_id for failure in failed) == [song_id for song_id, *_ in SONGS]
    assert all(failure.reason.isprintable() for failure in failed)
    assert is_inert(failed_songs_table(Report(failed=failed)))


async def test_what_postgres_says_of_a_row_reaches_no_terminal_raw(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=SONGS[:3]), stand_in, tuning=QUICK)
    backfills.arrange(
        "create function speak() returns trigger language plpgsql as $$"
        " begin if new.emotions_text <> new.moments_text then"
        "  raise exception E'\\x1b[31mno\\r\\u202e %%', new.song_id; end if; return new; end $$;"
        " create trigger speaking before insert on song_aboutness for each row execute function speak()"
    )

    with pytest.raises(FatalError, match="took none of the first 3 rows") as stopped:
        await backfills.fill()

    assert str(stopped.value).isprintable()


async def test_hostile_ids_reach_no_terminal_raw(make_service: MakeService, stand_in: StandIn) -> None:
    ids = {words: (words, "", "") for words in STORABLE}
    backfills = Backfills(
        make_service(songs=[*ids.values()], id_type="text"), stand_in, range_key=":", tuning=QUICK
    )

    assert (await backfills.fill_in_vain()).isprintable()

    failed = backfills.journal("select song_id from aboutness_ops.failed_song")
    assert {song_id for (song_id,) in failed} == ids.keys()


def is_inert(table: str) -> bool:
    """Whether a table of the UI holds printable lines only, but for the joiner that breaks addresses."""
    return all(line.replace("\u2060", "").isprintable() for line in table.splitlines())

"""The journal on a real Postgres: what was asked, what was answered, what is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from aboutness_assets.database.operations.connection import Operations, open_operations
from aboutness_assets.database.operations.id_blocks import IdBlocks
from aboutness_assets.database.operations.journal import Intent, Journal, KeptAnswer, Orphaned, trim
from aboutness_assets.database.operations.ledger import PostgresLedger
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.range_run import RangeRun
from aboutness_assets.domain.songs import IdType, Song
from aboutness_assets.money.ledger import Charge, Outcome
from tests.support.service_database import ServiceDatabase

SONGS = (Song(1, "Imagine", "John Lennon"), Song(-2, "\"'\\,{}%s é\u202e🎵", ""))


@pytest.fixture
async def operations(make_service: Callable[..., ServiceDatabase]) -> AsyncIterator[Operations]:
    """Our own Postgres, of the test alone: its tables are counted."""
    async with open_operations(make_service().ops_url) as operations:
        yield operations


def journal(
    operations: Operations,
    run_id: str = "first",
    *,
    table_id: str = "table",
    range_key: str = "range",
    id_type: IdType = "integer",
) -> Journal:
    run = RangeRun(table_id, range_key, run_id, "budget")
    ledger = PostgresLedger(operations, run, IdBlocks(operations, "attempt"), None)
    return Journal(operations, run, id_type, ledger, IdBlocks(operations, "chat_request"))


CHARGE = Charge("chat", "model", "standard", 0.5)
BILLED = Outcome("billed", Usage(100, 50), 0.25, "standard")


async def intend(journal: Journal, songs: tuple[Song, ...] = SONGS, usd: float | None = 0.5) -> Intent:
    charge = replace(CHARGE, max_usd=usd)
    intent = await journal.intend(
        songs, "pack", charge, prompt_hash="hash", reasoning_effort="none", promised_usd=0.125
    )
    assert intent is not None
    return intent


async def ask_and_answer(journal: Journal, songs: tuple[Song, ...] = SONGS, answer: bytes = b"answer") -> int:
    intent = await intend(journal, songs)
    await journal.answered(intent.request_id, intent.attempt_id, answer, BILLED)
    return intent.request_id


async def fetch(operations: Operations, query: str) -> list[tuple[object, ...]]:
    async with operations.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def test_an_answer_is_kept_for_the_next_run_with_its_songs_as_they_were(
    operations: Operations,
) -> None:
    raw = b'\x00\xff not even {"json"'
    request_id = await ask_and_answer(journal(operations), answer=raw)

    kept = KeptAnswer(request_id, SONGS, raw)
    assert await journal(operations, "second").kept_answers([SONGS[1]]) == [kept]
    assert await journal(operations, "second").kept_answers_of_range() == [kept]


async def test_text_ids_stay_text(operations: Operations) -> None:
    songs = (Song("007", "Bond", ""), Song("a'\"{},\\ é", "Title", ""))
    await ask_and_answer(journal(operations), songs)

    [kept] = await journal(operations, "second", id_type="text").kept_answers(songs[1:])

    assert kept.songs == songs


async def test_an_answer_is_not_offered_to_its_own_run_to_other_services_and_songs(
    operations: Operations,
) -> None:
    await ask_and_answer(journal(operations))

    assert await journal(operations).kept_answers(SONGS) == []
    assert await journal(operations, "second", table_id="other").kept_answers(SONGS) == []
    assert await journal(operations, "second").kept_answers([Song(12, "Imagine", "John Lennon")]) == []
    assert await journal(operations, "second").kept_answers([]) == []
    assert await journal(operations, "second", range_key="other").kept_answers_of_range() == []
    assert len(await journal(operations, "second", range_key="other").kept_answers(SONGS)) == 1


async def test_a_settled_answer_is_not_offered_again(operations: Operations) -> None:
    request_id = await ask_and_answer(journal(operations))

    await journal(operations).settle([request_id])
    await journal(operations).settle([])

    assert await journal(operations, "second").kept_answers(SONGS) == []


@pytest.mark.parametrize(("maybe_billed", "outcome"), [(True, "uncertain"), (False, "no_answer")])
async def test_a_request_that_was_given_up_is_settled(
    operations: Operations, maybe_billed: bool, outcome: str
) -> None:
    intent = await intend(journal(operations))

    await journal(operations).unanswered(intent.request_id, maybe_billed=maybe_billed)

    assert await fetch(operations, "select outcome from aboutness_ops.chat_request") == [(outcome,)]


async def test_requests_in_flight_at_a_death_are_counted_once_and_never_offered(
    operations: Operations,
) -> None:
    await ask_and_answer(journal(operations))
    await intend(journal(operations))
    await intend(journal(operations), usd=None)
    await intend(journal(operations, range_key="other"))
    second = journal(operations, "second")

    assert await second.settle_orphaned_requests() == Orphaned(2, 0.5)
    assert await journal(operations, "third").settle_orphaned_requests() == Orphaned(0, 0.0)
    assert len(await second.kept_answers(SONGS)) == 1


async def test_a_retried_settlement_of_orphans_reports_what_it_settled(operations: Operations) -> None:
    await intend(journal(operations))
    second = journal(operations, "second")

    assert await second.settle_orphaned_requests() == Orphaned(1, 0.5)
    assert await second.settle_orphaned_requests() == Orphaned(1, 0.5)  # as after a commit gone unheard


async def test_entries_that_are_made_at_once_share_a_commit(operations: Operations) -> None:
    run = journal(operations)
    asked = await asyncio.gather(*(intend(run, (Song(number, "Title", ""),)) for number in range(10)))
    await asyncio.gather(*(run.answered(one.request_id, one.attempt_id, b"answer", BILLED) for one in asked))

    entries = await fetch(
        operations, "select request_id, song_ids from aboutness_ops.chat_request order by request_id"
    )
    assert entries == [(one.request_id, [str(number)]) for number, one in enumerate(asked)]
    for table in ("chat_request", "attempt"):
        commits = await fetch(operations, f"select count(distinct xmin::text) from aboutness_ops.{table}")
        assert commits == [(1,)]


async def test_old_and_surplus_entries_are_trimmed_but_never_an_open_one(
    operations: Operations,
) -> None:
    run = journal(operations)
    settled = [await ask_and_answer(run) for _ in range(6)]
    for request_id in settled:
        await run.settle([request_id])
    still_open = [await ask_and_answer(run), (await intend(run)).request_id]
    await fetch(
        operations,
        "update aboutness_ops.chat_request set asked_at = now() - interval '90 days',"
        f" settled_at = settled_at - (request_id = {settled[0]})::int * interval '31 days' returning 1",
    )
    assert await trim(operations) == 1

    assert await trim(operations, keep_entries=4) == 3

    rows = await fetch(operations, "select request_id from aboutness_ops.chat_request order by 1")
    assert [request_id for (request_id,) in rows] == settled[-2:] + still_open

    assert await trim(operations, keep_entries=1) == 2

    rows = await fetch(operations, "select request_id from aboutness_ops.chat_request order by 1")
    assert [request_id for (request_id,) in rows] == still_open

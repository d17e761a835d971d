"""The journal on a real Postgres: what was asked, what was answered, what was paid, and the cap on it."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from aboutness_assets.database.operations import journal as journal_module
from aboutness_assets.database.operations.connection import Operations, open_operations
from aboutness_assets.database.operations.journal import Indeterminate, Journal, KeptAnswer, trim
from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.songs import Song
from tests.support.service_database import ServiceDatabase

SONGS = (Song(1, "Imagine", "John Lennon"), Song(-2, "\"'\\,{}%s é\u202e🎵", ""))
USAGE = Usage(prompt_tokens=100, cached_tokens=40, completion_tokens=20)


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
    budget: str = "backfill",
    range_key: str = "range",
    integer_ids: bool = True,
    max_usd: float | None = None,
) -> Journal:
    return Journal(
        operations,
        table_id=table_id,
        budget=budget,
        run_id=run_id,
        range_key=range_key,
        integer_ids=integer_ids,
        max_usd=max_usd,
    )


async def intend(journal: Journal, songs: tuple[Song, ...] = SONGS, usd: float | None = 0.5) -> int:
    return await journal.intend(songs, "pack", model="model", prompt_hash="hash", max_usd_estimate=usd)


async def ask_and_answer(journal: Journal, songs: tuple[Song, ...] = SONGS, answer: bytes = b"answer") -> int:
    request_id = await intend(journal, songs)
    await journal.answered(request_id, answer, USAGE, 0.25, usd_to_come=0.0)
    return request_id


async def fetch(operations: Operations, query: str) -> list[tuple[object, ...]]:
    async with operations.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def spent(operations: Operations) -> float:
    [(usd,)] = await fetch(operations, "select coalesce(sum(usd), 0)::float8 from aboutness_ops.spend")
    assert isinstance(usd, float)
    return usd


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

    [kept] = await journal(operations, "second", integer_ids=False).kept_answers(songs[1:])

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


@pytest.mark.parametrize(("maybe_paid", "outcome"), [(True, "indeterminate"), (False, "no_answer")])
async def test_a_request_that_was_given_up_is_settled(
    operations: Operations, maybe_paid: bool, outcome: str
) -> None:
    request_id = await intend(journal(operations))

    await journal(operations).unanswered(request_id, maybe_paid=maybe_paid)

    assert await journal(operations, "second").settle_orphaned_requests() == Indeterminate(0, 0.0)
    assert await fetch(operations, "select outcome from aboutness_ops.chat_request") == [(outcome,)]


async def test_requests_in_flight_at_a_death_are_counted_once_and_never_offered(
    operations: Operations,
) -> None:
    await ask_and_answer(journal(operations))
    await intend(journal(operations))
    await intend(journal(operations), usd=None)
    await intend(journal(operations, range_key="other"))
    second = journal(operations, "second")

    assert await second.settle_orphaned_requests() == Indeterminate(2, 0.5)
    assert await second.settle_orphaned_requests() == Indeterminate(0, 0.0)
    assert len(await second.kept_answers(SONGS)) == 1


async def test_the_cap_is_never_passed_however_many_ask_at_once(operations: Operations) -> None:
    runs = [journal(operations, f"run {number}", max_usd=5.2) for number in range(4)]

    outcomes = await asyncio.gather(*(intend(run) for run in runs for _ in range(10)), return_exceptions=True)

    assert sum(isinstance(outcome, int) for outcome in outcomes) == 10
    refusals = [str(outcome) for outcome in outcomes if isinstance(outcome, FatalError)]
    assert len(refusals) == 30
    assert "ABOUTNESS_MAX_USD = 5.2" in refusals[0]
    assert await spent(operations) == 5.0
    assert await fetch(operations, "select count(*) from aboutness_ops.chat_request") == [(10,)]


async def test_entries_that_are_made_at_once_share_a_commit(operations: Operations) -> None:
    run = journal(operations, max_usd=10)
    asked = await asyncio.gather(*(intend(run, (Song(number, "Title", ""),)) for number in range(10)))
    await asyncio.gather(*(run.answered(one, b"answer", USAGE, 0.25, usd_to_come=0.0) for one in asked))

    entries = await fetch(
        operations, "select request_id, song_ids from aboutness_ops.chat_request order by request_id"
    )
    assert entries == [(one, [str(number)]) for number, one in enumerate(asked)]
    assert await fetch(operations, "select count(distinct xmin::text) from aboutness_ops.chat_request") == [
        (1,)
    ]
    assert await spent(operations) == 2.5


async def test_an_entry_that_the_cap_forbids_does_not_spoil_those_that_share_its_commit(
    operations: Operations,
) -> None:
    run = journal(operations, max_usd=1)
    first, second, third = await asyncio.gather(
        *(intend(run, usd=usd) for usd in (0.5, 5.0, 0.25)), return_exceptions=True
    )

    assert isinstance(second, FatalError)
    assert await fetch(
        operations, "select request_id, max_usd_estimate::float8 from aboutness_ops.chat_request order by 1"
    ) == [(first, 0.5), (third, 0.25)]
    assert await spent(operations) == 0.75


async def test_a_reservation_is_corrected_by_what_a_request_really_cost(operations: Operations) -> None:
    run = journal(operations, max_usd=10)
    answered, refused, lost = [await intend(run) for _ in range(3)]

    await run.answered(answered, b"", USAGE, 0.25, usd_to_come=0.125)
    await run.unanswered(refused, maybe_paid=False)
    await run.unanswered(lost, maybe_paid=True)

    assert await spent(operations) == 0.25 + 0.125 + 0.5


async def test_each_backfill_has_a_cap_of_its_own(operations: Operations) -> None:
    for budget in ("one", "other"):
        await intend(journal(operations, budget=budget, max_usd=0.5))
        with pytest.raises(FatalError, match="ABOUTNESS_MAX_USD"):
            await intend(journal(operations, budget=budget, max_usd=0.5))


async def test_with_a_cap_an_unknown_price_is_refused(operations: Operations) -> None:
    with pytest.raises(FatalError, match="price"):
        await intend(journal(operations, max_usd=100), usd=None)

    assert await fetch(operations, "select count(*) from aboutness_ops.chat_request") == [(0,)]
    await intend(journal(operations), usd=None)


async def test_old_and_surplus_entries_are_trimmed_but_never_an_open_one(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = journal(operations)
    settled = [await ask_and_answer(run) for _ in range(6)]
    for request_id in settled:
        await run.settle([request_id])
    still_open = [await ask_and_answer(run), await intend(run)]
    await fetch(
        operations,
        "update aboutness_ops.chat_request set asked_at = now() - interval '90 days',"
        f" settled_at = settled_at - (request_id = {settled[0]})::int * interval '31 days' returning 1",
    )
    assert await trim(operations) == 1

    monkeypatch.setattr(journal_module, "KEEP_ENTRIES", 4)
    assert await trim(operations) == 3

    rows = await fetch(operations, "select request_id from aboutness_ops.chat_request order by 1")
    assert [request_id for (request_id,) in rows] == settled[-2:] + still_open

    monkeypatch.setattr(journal_module, "KEEP_ENTRIES", 1)
    assert await trim(operations) == 2

    rows = await fetch(operations, "select request_id from aboutness_ops.chat_request order by 1")
    assert [request_id for (request_id,) in rows] == still_open

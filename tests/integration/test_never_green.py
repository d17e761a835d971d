"""A run is never green for nothing: rows are seen in the table, or the run says why there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aboutness_assets.domain.errors import FatalError
from aboutness_assets.pipeline.runs import fill_ranges, replay_failed
from aboutness_assets.pipeline.tuning import Tuning
from tests.support.backfills import LOG, QUICK, Backfills, sample_songs
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

TRIGGER = (
    "create function guard() returns trigger language plpgsql as $$ begin {} end $$;"
    " create trigger guard before insert on song_aboutness for each row execute function guard()"
)

REAL = "new.emotions_text <> new.moments_text"
"""Whether a row is of the model: what is tried out before anything is paid for has one text twice."""

REFUSES_ALL = {
    # what the administrator does, what undoes it, words of the sentence
    "a check": (
        "alter table song_aboutness add constraint the_same check (emotions_text = moments_text)",
        "alter table song_aboutness drop constraint the_same",
        "the_same",
    ),
    "a constraint that is deferred": (
        TRIGGER.format(f"if {REAL} then raise exception 'late'; end if; return null;")
        .replace("create trigger guard before", "create constraint trigger guard after")
        .replace("for each", "deferrable initially deferred for each"),
        "drop trigger guard on song_aboutness",
        "late",
    ),
    "a trigger with a code of its own": (
        TRIGGER.format(f"if {REAL} then raise exception 'no' using errcode = 'QQ001'; end if; return new;"),
        "drop trigger guard on song_aboutness",
        "refused the row: no",
    ),
    "a trigger that drops rows": (
        TRIGGER.format(f"if {REAL} then return null; end if; return new;"),
        "drop trigger guard on song_aboutness",
        "is not in song_aboutness",
    ),
    "row-level security that hides new rows": (
        "alter table song_aboutness enable row level security;"
        " create policy adds on song_aboutness for insert with check (true);"
        " create policy sees on song_aboutness for select using (emotions_text = moments_text)",
        "alter table song_aboutness disable row level security",
        "",
    ),
}


def of_songs(make_service: MakeService, stand_in: StandIn, number: int, **service: Any) -> Backfills:
    return Backfills(make_service(songs=sample_songs(number), **service), stand_in, tuning=QUICK)


@pytest.mark.parametrize("case", REFUSES_ALL)
async def test_a_table_that_takes_no_row_stops_the_run_and_blames_no_song(
    make_service: MakeService, stand_in: StandIn, case: str
) -> None:
    breaks, mends, words = REFUSES_ALL[case]
    backfills = of_songs(make_service, stand_in, 30)
    backfills.arrange(breaks)

    with pytest.raises(FatalError) as stopped:
        await backfills.fill(max_in_flight=1)

    assert words in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert len(backfills.rows().keys() - {"0"}) == 0
    assert backfills.journal("select count(*) from aboutness_ops.failed_song") == [(0,)]
    paid = {song for pack in backfills.packs() for song in pack}
    stand_in.reset()
    backfills.arrange(mends)
    report = await backfills.fill()
    assert report.songs_written == 30
    assert not paid & backfills.times_asked().keys()


async def test_more_is_not_paid_for_once_the_first_rows_were_refused(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = of_songs(make_service, stand_in, 60)
    backfills.arrange(REFUSES_ALL["a check"][0])

    with pytest.raises(FatalError, match=r"took none of the first \d+ rows"):
        await backfills.fill(max_in_flight=1, pack_size=1, requests_per_minute=120)

    assert len(backfills.packs()) < 30


async def test_the_lone_row_of_a_run_is_refused_three_times_and_then_left_out(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = of_songs(make_service, stand_in, 10)
    refuses_seven = f"if {REAL} and new.song_id = 7 then raise exception 'not_seven' using errcode = '23514';"
    backfills.arrange(TRIGGER.format(f"{refuses_seven} end if; return new;"))
    assert (await backfills.fill()).songs_written == 9

    for _ in range(2):
        with pytest.raises(FatalError, match=r"No row was written: 1 song .* insert .*not_seven"):
            await backfills.fill()
    report = await backfills.fill()

    assert (report.songs_failed, report.songs_left_out, report.answers_replayed) == (1, 1, 0)
    assert len(backfills.packs()) == 1


async def test_songs_that_were_refused_before_say_nothing_about_the_table(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = of_songs(make_service, stand_in, 20)
    backfills.arrange("alter table song_aboutness add constraint odd check (mod(song_id, 2) = 1)")
    assert (await backfills.fill()).songs_failed == 10
    for song_id, title, artist in sample_songs(40)[20:]:
        backfills.arrange("insert into songs values (%s, %s, %s)", [2 * int(song_id) + 1, title, artist])

    report = await backfills.fill()

    assert (report.songs_written, report.songs_failed) == (20, 10)


@pytest.mark.parametrize("sqlstate", ["22P05", "22001"])
async def test_a_text_that_cannot_be_stored_fails_its_song_and_is_asked_for_anew(
    make_service: MakeService, stand_in: StandIn, sqlstate: str
) -> None:
    backfills = of_songs(make_service, stand_in, 10)
    raises = f"raise exception 'no such letter' using errcode = '{sqlstate}'"
    backfills.arrange(TRIGGER.format(f"if {REAL} and new.song_id = 4 then {raises}; end if; return new;"))

    report = await backfills.fill()

    [failure] = report.failed
    assert (failure.song_id, failure.cause) == (4, "unusable_text")
    assert "no such letter. The next run asks for other texts." in failure.reason
    unsettled = "select count(*) from aboutness_ops.chat_request where settled_at is null"
    assert backfills.journal(unsettled) == [(0,)]
    for _ in range(2):
        with pytest.raises(FatalError, match="No row was written: 1 song"):
            await backfills.fill()
    asked = len(backfills.packs())
    assert asked == 3
    assert (await backfills.fill()).songs_left_out == 1
    assert len(backfills.packs()) == asked
    assert backfills.journal(unsettled) == [(0,)]


async def test_a_run_in_which_every_song_fails_fails_with_the_commonest_reason(
    make_service: MakeService, stand_in: StandIn
) -> None:
    songs = sample_songs(4)
    stand_in.control({"poison": {str(title): "refusal" for _, title, _ in songs[:3]}})
    backfills = of_songs(make_service, stand_in, 3)
    backfills.arrange("insert into songs values (901, '', null)")

    with pytest.raises(FatalError, match=r"No row was written: 4 songs .* refused \(3 songs\): "):
        await backfills.fill()

    stand_in.reset()
    report = await backfills.fill()
    assert (report.songs_written, report.songs_left_out) == (3, 1)
    assert report.cost_usd is not None
    billed = backfills.journal("select sum(usd)::float8 from aboutness_ops.spending")
    assert billed == [(pytest.approx(report.cost_usd),)], "the failed run's dollars are in no figure"
    assert (await backfills.fill()).songs_left_out == 1


async def test_a_catalogue_of_songs_without_names_is_no_success(
    make_service: MakeService, stand_in: StandIn
) -> None:
    backfills = of_songs(make_service, stand_in, 5)

    for _ in range(4):  # in quarantine too
        with pytest.raises(FatalError, match=r"No row was written: 5 songs .* nothing_known"):
            await backfills.fill(songs_query="select song_id, null::text as title, '' as artist from songs")


async def test_a_range_that_gets_no_row_is_reported_where_another_of_the_run_gets_some(
    make_service: MakeService, stand_in: StandIn
) -> None:
    [(_, poisoned, _), *_] = sample_songs(1)
    stand_in.control({"poison": {str(poisoned): "refusal"}})
    backfills = of_songs(make_service, stand_in, 8)
    first, second = "000000001-000000001", "000000002-000000010"
    done: dict[str, int] = {}

    async with backfills.session() as session:
        await fill_ranges(
            session, [first, second], "run", LOG, lambda key, report: done.update({key: report.songs_failed})
        )

    assert done == {second: 0, first: 1}
    assert list(done) == [second, first]


async def test_ranges_without_anything_to_do_are_green(make_service: MakeService, stand_in: StandIn) -> None:
    backfills = of_songs(make_service, stand_in, 3)
    await backfills.fill()

    assert (await backfills.fill()).songs_skipped_existing == 3
    backfills.range_key = "000500001-000600000"
    assert (await backfills.fill()).songs_in_range == 0


async def test_a_smoke_run_over_an_empty_catalogue_fails(
    make_service: MakeService, stand_in: StandIn
) -> None:
    with pytest.raises(FatalError, match="The catalogue is empty"):
        await of_songs(make_service, stand_in, 0).smoke()


async def test_a_replay_that_recovers_no_song_fails(make_service: MakeService, stand_in: StandIn) -> None:
    backfills = of_songs(make_service, stand_in, 2)
    poison = {"poison": {str(title): "refusal" for _, title, _ in sample_songs(1)}}
    stand_in.control(poison)
    await backfills.fill()

    async with backfills.session() as session:
        with pytest.raises(FatalError, match="No row was written: 1 song"):
            await replay_failed(session, "replay", LOG, cause=None, song_ids=[])
        stand_in.reset()
        report = await replay_failed(session, "again", LOG, cause=None, song_ids=[])
        assert report.songs_written == 1
        nothing = await replay_failed(session, "at last", LOG, cause=None, song_ids=[])
    assert nothing.songs_in_range == 0


async def test_a_failover_is_waited_for_like_a_lost_connection(
    make_service: MakeService, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    backfills = of_songs(make_service, stand_in, 10)
    backfills.tuning = Tuning()
    # Every session that exists stays read-only, as one at a demoted server does; a new one may write.
    backfills.arrange("create sequence sessions; grant usage on sequence sessions to music_service")
    backfills.arrange(
        "create function demoted() returns trigger language plpgsql as $$ begin"
        f" if {REAL} and current_setting('aboutness.demoted', true) is null and nextval('sessions') < 3 then"
        "  perform set_config('aboutness.demoted', 'yes', false); end if;"
        f" if {REAL} and current_setting('aboutness.demoted', true) = 'yes' then raise exception"
        "  'cannot execute INSERT in a read-only transaction' using errcode = '25006'; end if;"
        " return new; end $$;"
        " create trigger demoted before insert on song_aboutness for each row execute function demoted()"
    )

    report = await backfills.fill()

    assert report.songs_written == 10
    assert "Inserting failed (cannot execute INSERT in a read-only transaction)" in caplog.text

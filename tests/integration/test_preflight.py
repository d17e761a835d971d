"""What a preflight finds on databases as people have them, and that a run on a wrong one asks for no text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
import psycopg
import pytest

from aboutness_assets.database.service.connection import open_service
from aboutness_assets.database.service.table_schema import read_table
from aboutness_assets.database.url import service_conninfo
from aboutness_assets.definitions import defs
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.findings import Finding, failing
from aboutness_assets.pipeline.preflight import service_findings
from tests.support.backfills import Backfills, sample_songs
from tests.support.service_database import SERVICE_ROLE, ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

CHECK = dg.AssetCheckKey(dg.AssetKey("song_aboutness"), "preflight")

TRIGGER = (
    "create function meddle() returns trigger language plpgsql as $$ begin {body} end $$;"
    " create trigger meddle {when} insert on song_aboutness for each row execute function meddle()"
)


SONGS_QUERY = "select song_id, title, artist from songs"


async def found(service: ServiceDatabase, songs_query: str = SONGS_QUERY) -> list[Finding]:
    """What the preflight finds."""
    async with open_service(service_conninfo(service.url), 2) as pool:
        async with pool.connection() as connection:
            table = await read_table(connection)
        return await service_findings(pool, table, songs_query, datetime(2026, 2, 20, tzinfo=UTC))


def printed(findings: list[Finding], outcome: str) -> str:
    return "\n".join(str(finding) for finding in findings if finding.outcome == outcome)


async def test_a_database_as_agreed_passes_and_keeps_nothing(
    make_service: MakeService,
) -> None:
    service = make_service(songs=sample_songs(40))

    findings = await found(service)

    assert {finding.outcome for finding in findings} == {"pass"}
    assert [finding.check for finding in findings] == [
        *("server", "encoding", "rights", "row-level security", "pooler", "insert (rolled back)")
    ]
    assert findings[-1].found == (
        "rows for 3 songs without a row (1 … 40) with the confidences low, medium, high were taken and seen"
    )
    with psycopg.connect(service.admin_url) as admin:
        assert admin.execute("select from song_aboutness").fetchall() == []


async def test_dates_may_be_written_in_any_format(make_service: MakeService, stand_in: StandIn) -> None:
    service = make_service(songs=sample_songs(3))
    runs = Backfills(service, stand_in)
    [(database,)] = runs.look("select current_database()")
    runs.arrange(f"alter database {database} set datestyle = 'SQL, DMY'")

    assert failing(await found(service)) == []


async def test_an_empty_catalogue_fails(make_service: MakeService) -> None:
    [failed] = failing(await found(make_service()))

    assert str(failed).startswith("catalogue: there is no song at all. Check DATABASE_URL, its schema")


async def test_where_every_song_has_a_row_nothing_is_tried_and_that_is_said(
    make_service: MakeService,
) -> None:
    service = make_service(songs=sample_songs(1))
    arrange(service, "insert into song_aboutness (song_id, emotions_text, moments_text) values (1, 'a', 'b')")

    findings = await found(service)

    assert findings[-1].outcome == "info"
    assert findings[-1].found.startswith("nothing was tried: ")


# Statement of an administrator; what the run says.
REFUSED = {
    "an enum that lacks a word is named by its constraint": (
        "alter table song_aboutness add check (emotions_confidence in ('low', 'high'))",
        "confidence medium: Postgres refuses the row: new row for relation .* violates check constraint",
    ),
    "a column for short texts": (
        "alter table song_aboutness alter moments_text type varchar(60)",
        "with its 100 characters, .*value too long for type character varying\\(60\\). Both text columns",
    ),
    "a trigger that drops every row": (
        TRIGGER.format(body="return null;", when="before"),
        "the row is not in the table afterward; triggers that may drop or change it: meddle. Let triggers",
    ),
    "a trigger that raises": (
        TRIGGER.format(body="raise exception 'closed for the season';", when="after"),
        "song 1: Postgres refuses the row: closed for the season. A trigger refuses the row",
    ),
    "a trigger that rewrites": (
        TRIGGER.format(body="new.emotions_text := upper(new.emotions_text); return new;", when="before"),
        "holds other texts or confidences than were given. A trigger changes them",
    ),
    "a trigger that lacks a right": (
        "create table audit (song_id integer);"
        + TRIGGER.format(body="insert into audit values (new.song_id); return new;", when="after"),
        "permission denied for table audit. Grant the role what is missing",
    ),
    "a rule": (
        "create rule nothing as on insert to song_aboutness do instead nothing",
        "the row is not in the table afterward; rules: nothing. Let triggers and rules pass the row",
    ),
    "an identity column": (
        "alter table song_aboutness alter song_id add generated always as identity",
        'cannot insert a non-DEFAULT value into column "song_id". song_id must take the song\'s own id',
    ),
    "a foreign key to an empty table": (
        "create table tracks (id integer primary key);"
        " alter table song_aboutness add foreign key (song_id) references tracks",
        "violates foreign key constraint .*Let ABOUTNESS_SONGS_QUERY yield only songs",
    ),
    "a foreign key that is checked at the commit": (
        "create table tracks (id integer primary key);"
        " alter table song_aboutness add foreign key (song_id) references tracks"
        " deferrable initially deferred",
        "violates foreign key constraint",
    ),
    "a unique column with one default for all": (
        "alter table song_aboutness add column slug text unique default 'new'",
        "songs 1, 2, 30 at once: the INSERT reports no error and writes nothing: another row has its value "
        "of song_aboutness_slug_key. Every column that is unique",
    ),
    "a deferrable primary key": (
        "alter table song_aboutness drop constraint song_aboutness_pkey,"
        " add primary key (song_id) deferrable",
        "ON CONFLICT does not support deferrable unique constraints.*replace that one",
    ),
    "dates that nobody sets": (
        "alter table song_aboutness alter created_at drop not null, alter created_at drop default",
        "created_at of a new row is null. Let its default be",
    ),
    "dates of long ago": (
        "alter table song_aboutness alter created_at set default '2020-01-01'",
        r"created_at of a new row is 2020-01-01 .*, before ABOUTNESS_ROLLOUT_AT \(2026-02-20",
    ),
    "a read-only role": (
        f"alter role {SERVICE_ROLE} in database {{database}} set default_transaction_read_only = on",
        "transactions of this role are read-only. Set DATABASE_URL to the primary",
    ),
    "a hidden catalogue": (
        "alter table songs enable row level security",
        "in force for the role on songs, which has no policy for reading: every row is hidden",
    ),
    "a part of the catalogue": (
        "alter table songs enable row level security;"
        f" create policy a_third on songs to {SERVICE_ROLE} using (song_id % 3 = 0)",
        r"its policies for reading \(a_third\) may hide rows; hidden rows cannot be counted. Give the role",
    ),
    "rows that are written and never seen": (
        "alter table song_aboutness enable row level security;"
        " create policy writers on song_aboutness for insert with check (true)",
        "in force for the role on song_aboutness, which has no policy for reading",
    ),
    "rows that may not be written": (
        "alter table song_aboutness enable row level security;"
        " create policy readers on song_aboutness for select using (true)",
        "new row violates row-level security policy.*or a policy that lets it insert",
    ),
    "a restrictive policy": (
        "alter table songs enable row level security; create policy everybody on songs using (true);"
        " create policy few on songs as restrictive using (song_id < 5)",
        r"policies for reading \(everybody, few\) may hide rows",
    ),
    "a partition for none of the songs": (
        "drop table song_aboutness; create table song_aboutness (song_id integer primary key,"
        " emotions_text text not null, moments_text text not null, emotions_confidence text,"
        " moments_confidence text, emotions_vector vector(8), moments_vector vector(8),"
        " created_at timestamptz not null default now()) partition by range (song_id);"
        f" grant select, insert on song_aboutness to {SERVICE_ROLE}",
        "no partition of relation .* found for row.*a partitioned table needs a partition for every song",
    ),
}


def arrange(service: ServiceDatabase, statement: str) -> None:
    database = service.admin_url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("set local event_triggers = off")
        admin.execute(statement.replace("{database}", database).encode())


@pytest.mark.parametrize("case", REFUSED)
async def test_a_wrong_database_is_one_failing_line(make_service: MakeService, case: str) -> None:
    statement, sentence = REFUSED[case]
    service = make_service(songs=sample_songs(30))
    arrange(service, statement)

    failed = failing(await found(service))

    assert len(failed) == 1
    assert re.search(sentence, str(failed[0])), str(failed[0])


@pytest.mark.parametrize(
    "case",
    ["a trigger that drops every row", "a hidden catalogue", "an identity column", "a read-only role"],
)
async def test_a_run_on_a_wrong_database_asks_for_nothing(
    make_service: MakeService, stand_in: StandIn, case: str
) -> None:
    statement, sentence = REFUSED[case]
    service = make_service(songs=sample_songs(30))
    arrange(service, statement)
    runs = Backfills(service, stand_in)

    with pytest.raises(FatalError, match=sentence) as fault:
        await runs.fill()

    assert str(fault.value).startswith("Nothing was asked for, as no row could be written. ")
    assert runs.requests() == {}
    assert runs.rows() == {}


# Statement of an administrator; what is warned about or said.
TAKEN = {
    "more rights than are needed": (
        f"grant update, delete on song_aboutness to {SERVICE_ROLE}; grant insert on songs to {SERVICE_ROLE}",
        "warn",
        f"rights: the role {SERVICE_ROLE} has UPDATE, DELETE on song_aboutness; has INSERT on songs. Less",
    ),
    "a trigger that minds its own business": (
        TRIGGER.format(body="perform 1; return new;", when="before"),
        "info",
        "triggers: meddle ran for the rows that were tried; what they did in this database is rolled back",
    ),
    "a sequence": (
        "alter table song_aboutness add column number bigint generated always as identity",
        "info",
        "sequences: those of number were advanced by a few numbers",
    ),
    "a trigger that refuses one song": (
        TRIGGER.format(
            body="if new.song_id = 1 then raise exception 'one is reserved'; end if; return new;",
            when="before",
        ),
        "warn",
        "song 1: Postgres refuses the row: one is reserved; song 2 is taken. Such songs would be paid for",
    ),
    "a column that is ASCII": (
        "alter table song_aboutness add check (emotions_text ~ '^[ -~]*$')",
        "warn",
        "violates check constraint .*A song whose text holds such characters fails",
    ),
    "policies that hide nothing": (
        "alter table songs enable row level security; create policy everybody on songs using (true)",
        "pass",
        "row-level security: hides no row of these tables from the role",
    ),
    "an enum in capitals": (
        "create type certainty as enum ('LOW', 'MEDIUM', 'HIGH');"
        " alter table song_aboutness alter emotions_confidence type certainty using null,"
        " alter moments_confidence type certainty using null",
        "pass",
        "with the confidences LOW, MEDIUM, HIGH were taken and seen",
    ),
}


@pytest.mark.parametrize("case", TAKEN)
async def test_what_a_run_survives_is_said(make_service: MakeService, case: str) -> None:
    statement, outcome, sentence = TAKEN[case]
    service = make_service(songs=sample_songs(5))
    arrange(service, statement)

    findings = await found(service)

    assert failing(findings) == []
    assert re.search(sentence, printed(findings, outcome)), printed(findings, outcome)


async def test_a_run_goes_on_where_one_song_is_refused(
    make_service: MakeService, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    statement, _, sentence = TAKEN["a trigger that refuses one song"]
    service = make_service(songs=sample_songs(5))
    arrange(service, statement)

    assert (await Backfills(service, stand_in).fill()).songs_written == 4

    assert re.search(sentence, caplog.text)


# Statement of an administrator; setting of the songs query, None: the default.
FILLS = {
    "partitions": (
        "drop table song_aboutness; create table song_aboutness (song_id integer primary key,"
        " emotions_text text not null, moments_text text not null, emotions_confidence text,"
        " moments_confidence text, emotions_vector vector(8), moments_vector vector(8),"
        " created_at timestamptz not null default now()) partition by hash (song_id);"
        " create table half_a partition of song_aboutness for values with (modulus 2, remainder 0);"
        " create table half_b partition of song_aboutness for values with (modulus 2, remainder 1);"
        f" grant select, insert on song_aboutness to {SERVICE_ROLE}",
        None,
    ),
    "a view for the songs, of an owner from whom nothing is hidden": (
        "alter table songs rename to tracks; alter table tracks enable row level security;"
        f" revoke all on tracks from {SERVICE_ROLE};"
        " create view songs as select song_id, title, artist from tracks;"
        f" grant select on songs to {SERVICE_ROLE}",
        None,
    ),
    "numeric ids of songs, cast in the query": (
        "alter table songs alter song_id type numeric",
        "select song_id::integer as song_id, title, artist from songs",
    ),
    "ids from zero and below": ("update songs set song_id = song_id - 3", None),
}


@pytest.mark.parametrize("case", FILLS)
async def test_other_shapes_of_the_tables_are_filled(
    make_service: MakeService, stand_in: StandIn, case: str
) -> None:
    statement, songs_query = FILLS[case]
    service = make_service(songs=sample_songs(5))
    runs = Backfills(service, stand_in, range_key="-000000009-000001000")
    arrange(service, statement)

    assert (await runs.fill(songs_query=songs_query)).songs_written == 5


@pytest.mark.parametrize(
    ("of_songs", "of_rows", "sentence"),
    [
        (
            "numeric",
            "integer",
            "column song_id has the type numeric, but must be .*: cast it in ABOUTNESS_SONGS",
        ),
        ("integer", "numeric", "column song_id has type numeric, not one of int2, int4, int8, text"),
        ("text", "integer", "The songs' ids are text, those of song_aboutness integer. Cast song_id in"),
        (
            "bigint",
            "integer",
            "song 3000000000: .*; song 1 is taken.*must be as wide as the ids of the songs",
        ),
    ],
)
async def test_ids_of_two_types_are_one_sentence(
    make_service: MakeService,
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
    of_songs: str,
    of_rows: str,
    sentence: str,
) -> None:
    service = make_service(songs=sample_songs(5))
    runs = Backfills(service, stand_in, range_key="000000001-5000000000")
    runs.arrange(
        f"alter table songs alter song_id type {of_songs} using song_id::{of_songs};"
        f" alter table song_aboutness alter song_id type {of_rows} using song_id::{of_rows}"
    )
    if of_songs == "bigint":  # only the songs with such ids fail
        runs.arrange("update songs set song_id = 3000000000 where song_id = 5")
        assert (await runs.fill()).songs_written == 4
        assert re.search(sentence, caplog.text)
        return

    with pytest.raises(FatalError, match=sentence):
        await runs.fill()

    assert runs.requests() == {}


@pytest.mark.parametrize(
    ("of_songs", "of_rows", "outcome", "sentence"),
    [
        ("text", "text", "pass", '"default" in both tables'),
        ('text collate "C"', "text", "warn", 'Write song_id collate "default" as song_id'),
        ('text collate "C"', 'text collate "ucs_basic"', "fail", "collate ucs_basic as song_id"),
    ],
)
async def test_ids_of_two_collations(
    make_service: MakeService, stand_in: StandIn, of_songs: str, of_rows: str, outcome: str, sentence: str
) -> None:
    songs = [(f"GBAYE{number:07}", title, artist) for number, title, artist in sample_songs(4)]
    service = make_service(id_type="text", songs=songs)
    runs = Backfills(service, stand_in, range_key=":")
    runs.arrange(
        f"alter table songs alter song_id type {of_songs};"
        f" alter table song_aboutness alter song_id type {of_rows}"
    )

    findings = await found(service)

    assert sentence in printed([f for f in findings if f.check == "collation of song_id"], outcome)
    if outcome == "fail":
        with pytest.raises(FatalError, match="collation of song_id"):
            await runs.fill()
        assert runs.requests() == {}
        advice = 'select song_id collate "ucs_basic" as song_id, title, artist from songs'
        assert (await runs.fill(songs_query=advice)).songs_written == 4
    else:
        assert (await runs.fill()).songs_written == 4


async def test_a_lock_of_somebody_else_is_not_waited_for(
    make_service: MakeService, stand_in: StandIn
) -> None:
    service = make_service(songs=sample_songs(5))
    with psycopg.connect(service.admin_url) as other:
        other.execute("lock table song_aboutness in share row exclusive mode")

        with pytest.raises(FatalError, match=r"lock timeout\. Another session has locked the table"):
            await Backfills(service, stand_in).fill()

    assert stand_in.requests()["counts"]["requests"] == {}


@pytest.mark.parametrize(
    ("breaks", "passed"), [("select 1", True), (REFUSED["an identity column"][0], False)]
)
def test_the_asset_check_shows_a_table_and_only_warns(
    make_service: MakeService, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, breaks: str, passed: bool
) -> None:
    service = make_service(songs=sample_songs(5))
    Backfills(service, stand_in).arrange(breaks)
    monkeypatch.setenv("DATABASE_URL", service.url)
    monkeypatch.setenv("DAGSTER_PG_URL", service.ops_url)
    monkeypatch.setenv("OPENAI_API_KEY", "stand-in")
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)

    checks = dg.define_asset_job("just_this", selection=dg.AssetSelection.checks(CHECK))
    job = dg.Definitions.merge(defs, dg.Definitions(jobs=[checks])).resolve_job_def("just_this")
    with dg.DagsterInstance.ephemeral() as instance:
        [evaluation] = job.execute_in_process(instance=instance).get_asset_check_evaluations()

    assert (evaluation.check_name, evaluation.passed) == ("preflight", passed)
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.description is not None
    first = evaluation.description.splitlines()[2]
    if not passed:
        assert first.startswith(r"| insert \(rolled back\) | song 1: Postgres refuses the row: cannot")
        assert r"| fail | song\_id must take" in first
    assert stand_in.requests()["counts"]["requests"] == {}

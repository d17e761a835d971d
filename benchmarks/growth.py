"""Growth: what one range costs in catalogues of 100 thousand, a million and ten million songs.

Three databases of one Postgres, warm; each operation takes turns on the three, so that whatever else the
machine does falls on all of them alike. Nine of ten songs of every range have a row. What grows is told by
CPU, as wall times grow with whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from aboutness_assets.acceptance.evaluate import evaluate_criteria
from aboutness_assets.acceptance.report_reading import count_ranges
from aboutness_assets.database.operations.journal import KEEP_ENTRIES, trim
from aboutness_assets.database.service import catalogue
from aboutness_assets.database.service.report_queries import ReportQueries
from aboutness_assets.database.service.table_facts import read_service_tables
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.pipeline.session import Session, open_session
from aboutness_assets.settings import Settings, load_settings
from aboutness_local.postgres import EmbeddedPostgres
from aboutness_local.service_tables import create_operations_database, create_service_tables
from benchmarks.cpu_seconds import CpuSeconds
from benchmarks.environment import range_keys, real_songs
from benchmarks.result import Plot, Result, Table

SIZES = (100_000, 1_000_000, 10_000_000)
"""Songs of the catalogues."""

RANGE_SIZE = 1000
PLACES = ("at the start", "in the middle", "at the end")
RANGES_A_PLACE = 5

TURNS = 60
"""Measurements of an operation on a range, on each catalogue."""

TURNS_OF_TOTALS = 2
"""The same of an operation on a whole catalogue."""

RANGES_A_COVERAGE = 100
"""Ranges, spread evenly over the catalogue, in one measurement of the coverage of the readiness report. They
are the same ones in every turn, so that as many are warm in each catalogue."""

LEFT_BEHIND = 10
"""Of so many ranges one was left behind by killed runs, where the checks of many ranges are measured."""

OLD_STYLE_SONGS = 130
"""The first songs; the rows of those of them that have one are old-style: 117."""

FLAT = 0.15
"""How much more a range may cost in a larger catalogue than in the smallest (issue 4)."""

# In the order of ids, as a catalogue grows.
_SONGS = """
insert into songs
select song_id, title || case when song_id > titles then ' ' || (song_id - 1) / titles else '' end, artist
from generate_series(1, %(songs)s::integer) as song_id
cross join (select count(*)::integer as titles from title) as counted
join title on number = (song_id - 1) %% titles
order by song_id
"""

# Vectors of three numbers: real ones lie outside of the main heap, and no read of a range touches them.
_ROWS = """
insert into song_aboutness
select song_id, left('Longing that turns into quiet hope, as in ' || title, 100),
       left('A late drive home, alone with ' || artist, 100), 'high', 'medium',
       '[0.1,0.2,0.3]', '[0.3,0.2,0.1]',
       case when song_id <= %(old_style)s then timestamptz '2025-01-01' else now() end
from songs where song_id %% 10 <> 0 order by song_id
"""

_JOURNAL = """
insert into aboutness_ops.chat_request
    (table_id, budget, run_id, range_key, kind, song_ids, songs, model, prompt_hash,
     answered_at, answer, settled_at, outcome)
select 'table', 'backfill', 'run', 'range', 'pack', array['1', '2'], '[]', 'gpt-6-luna', 'hash',
       settled_at, 'answer', settled_at, 'used'
from (select now() - make_interval(secs => number / 100.0) as settled_at
      from generate_series(1, %(entries)s::integer) as number) as settled
"""


@dataclass(frozen=True)
class Catalogue:
    """One catalogue with its ranges. The journal of its session is full of settled entries."""

    songs: int
    settings: Settings
    session: Session
    keys: list[str]

    def key(self, place: str, turn: int) -> str:
        """The range of a turn: one of the few at a place, so that all are warm."""
        last = len(self.keys) - RANGES_A_PLACE
        first = (0, last // 2, last)[PLACES.index(place)]
        return self.keys[first + turn % RANGES_A_PLACE]


Operation = Callable[[Catalogue, int], Awaitable[object]]
"""What is measured: on a catalogue, in a turn."""


@dataclass(frozen=True)
class Cost:
    """By songs of the catalogue: median seconds, and mean CPU seconds of this process and Postgres.

    growth: how much more CPU any takes than the smallest; 0.1 is 10 % more.
    """

    seconds: dict[int, float]
    cpu: dict[int, float]
    growth: float


def run() -> Result:
    """Lay the catalogues, measure, and remove them."""
    with tempfile.TemporaryDirectory(prefix="aboutness-growth-") as directory:
        server = EmbeddedPostgres(
            Path(directory) / "postgres",
            # Everything stays in memory: the work is measured and no disk. autovacuum would fall on one
            # catalogue alone; all are vacuumed when they are filled.
            {"fsync": "off", "shared_buffers": "4GB", "max_wal_size": "2GB", "autovacuum": "off"},
        ).start()
        try:
            postmaster = server.postmaster_pid
            assert postmaster is not None
            laid = {songs: lay_catalogue(server, songs) for songs in SIZES}
            return asyncio.run(_measure(laid, CpuSeconds(postmaster)))
        finally:
            server.reset()


def lay_catalogue(server: EmbeddedPostgres, songs: int) -> Settings:
    """Lay so many songs, nine of ten with a row, beside a database of our own; the settings of both."""
    began = time.monotonic()
    service, operations = f"service_{songs}", f"operations_{songs}"
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"create database {service}".encode())
        create_operations_database(
            admin, operations, role="operations", password=server.password("operations")
        )
    with psycopg.connect(server.url(service), autocommit=True) as admin:
        create_service_tables(
            admin, vector_type="vector(3)", role="aboutness", password=server.password("aboutness")
        )
        admin.execute("create temporary table title (number integer primary key, title text, artist text)")
        with admin.cursor().copy("copy title from stdin") as copy:
            for number, (title, artist) in enumerate(real_songs()):
                copy.write_row((number, title, artist))
        admin.execute("analyze title")
        admin.execute(_SONGS, {"songs": songs})
        admin.execute(_ROWS, {"old_style": OLD_STYLE_SONGS})
        admin.execute("vacuum analyze")
    _say(f"{songs:,} songs inserted in {time.monotonic() - began:.0f} s")
    return load_settings(
        database_url=server.url(service, "aboutness"),
        dagster_pg_url=server.url(operations, "operations"),
        range_size=RANGE_SIZE,
    )


async def _measure(settings: Mapping[int, Settings], cpu: CpuSeconds) -> Result:
    async with AsyncExitStack() as stack:
        catalogues = [await _opened(stack, songs, of_catalogue) for songs, of_catalogue in settings.items()]
        _say(f"ranges: {', '.join(f'{len(of.keys):,}' for of in catalogues)}")
        reads = {f"read a range {place}": _reading(place) for place in PLACES}
        a_range = {
            name: await _taking_turns(name, operation, catalogues, cpu, TURNS)
            for name, operation in {
                **reads,
                CHECKS: _check_after_a_range,
                CHECKS_ALONE: _check_in_an_open_session,
                TRIM: _trim,
            }.items()
        }
        a_range[COVERAGE] = await _taking_turns(
            COVERAGE, _cover, catalogues, cpu, TURNS // 5, RANGES_A_COVERAGE
        )
        whole = {
            name: await _taking_turns(name, operation, catalogues, cpu, TURNS_OF_TOTALS)
            for name, operation in WHOLE.items()
        }
    return _result(a_range, whole)


async def _opened(stack: AsyncExitStack, songs: int, settings: Settings) -> Catalogue:
    session = await stack.enter_async_context(open_session(settings))
    async with session.operations.connection() as connection:
        await connection.execute(_JOURNAL, {"entries": min(songs // settings.pack_size, KEEP_ENTRIES)})
        await connection.execute("vacuum analyze")
    return Catalogue(songs, settings, session, await range_keys(settings))


async def _taking_turns(
    name: str,
    operation: Operation,
    catalogues: list[Catalogue],
    cpu: CpuSeconds,
    turns: int,
    times_a_turn: int = 1,
) -> Cost:
    """Measure an operation, which does the work so many times in a turn. Of many turns, five more warm up."""
    measured: dict[int, list[tuple[float, float]]] = {of.songs: [] for of in catalogues}
    warm_up = RANGES_A_PLACE if turns > RANGES_A_PLACE else 0
    for turn in range(warm_up + turns):
        for of in catalogues:
            began, cpu_before = time.perf_counter(), cpu.in_all()
            await operation(of, turn)
            if turn >= warm_up:
                took = time.perf_counter() - began, cpu.in_all() - cpu_before
                measured[of.songs].append(took)
    seconds = {
        songs: statistics.median(wall for wall, _ in took) / times_a_turn for songs, took in measured.items()
    }
    spent = {
        songs: statistics.mean(of_cpu for _, of_cpu in took) / times_a_turn
        for songs, took in measured.items()
    }
    shown = [f"{1000 * seconds[songs]:.2f} ms ({1000 * spent[songs]:.2f} of CPU)" for songs in seconds]
    _say(f"{name}: {', '.join(shown)}")
    smallest, *larger = spent.values()
    return Cost(seconds, spent, max(larger) / smallest - 1 if smallest > 0 else 0.0)


def _reading(place: str) -> Operation:
    async def read(of: Catalogue, turn: int) -> None:
        """As a run does: how many songs and rows there are, then the songs without a row."""
        pool, songs_query = of.session.service_pool, of.session.songs_query
        song_id_range = SongIdRange.from_key(of.key(place, turn), of.session.id_type)
        async with pool.connection() as connection:
            await catalogue.range_counts(connection, songs_query, song_id_range)
        async for _ in catalogue.pages_without_row(pool, songs_query, song_id_range):
            pass

    return read


async def _check_after_a_range(of: Catalogue, turn: int) -> None:
    async with open_session(of.settings) as session:
        await evaluate_criteria(session, [of.key("in the middle", turn)], of.keys)


async def _check_in_an_open_session(of: Catalogue, turn: int) -> None:
    await evaluate_criteria(of.session, [of.key("in the middle", turn)], of.keys)


async def _trim(of: Catalogue, turn: int) -> None:
    """The journal, as at the end of every run; nothing is too old and nothing too much."""
    await trim(of.session.operations)


async def _cover(of: Catalogue, turn: int) -> None:
    every = len(of.keys) // RANGES_A_COVERAGE
    session = of.session
    queries = ReportQueries(session.service_pool, session.songs_query, session.id_type)
    keys = of.keys[::every]
    await count_ranges(queries, {key: SongIdRange.from_key(key, session.id_type) for key in keys})


async def _lay(of: Catalogue, turn: int) -> None:
    await range_keys(of.settings)


async def _lay_again(of: Catalogue, turn: int) -> None:
    """Nothing is new: as the sensor finds it every minute."""
    await range_keys(of.settings, of.keys)


async def _check_everything(of: Catalogue, turn: int) -> None:
    """As aboutness_checks does."""
    async with open_session(of.settings) as session:
        await evaluate_criteria(session, (), of.keys)


async def _check_after_kills(of: Catalogue, turn: int) -> None:
    async with open_session(of.settings) as session:
        await session.verification.mark(of.keys[::LEFT_BEHIND])
        await evaluate_criteria(session, [of.keys[1]], of.keys)


async def _count_tables(of: Catalogue, turn: int) -> None:
    async with of.session.service_pool.connection() as connection:
        await read_service_tables(connection, of.session.songs_query, even_if_large=True)


CHECKS = "checks after a range, connecting included"
CHECKS_ALONE = "checks after a range"
TRIM = "trim the journal"
COVERAGE = "coverage report, for each range"
WHOLE: dict[str, Operation] = {
    "lay the ranges": _lay,
    "lay again, nothing new": _lay_again,
    "aboutness_checks: look at all rows, count every range": _check_everything,
    f"checks where killed runs left {1 / LEFT_BEHIND:.0%} of the ranges": _check_after_kills,
    "count both tables for observations": _count_tables,
}


def _result(a_range: Mapping[str, Cost], whole: Mapping[str, Cost]) -> Result:
    growing = [name for name, cost in a_range.items() if cost.growth > FLAT]
    verdict = f"missed by {', '.join(growing)}" if growing else "met"
    return Result(
        name="growth",
        title="Growth: a range's cost in catalogues of 100 thousand to ten million songs",
        summary=(
            f"Median wall times, and mean CPU of the process and Postgres, of {TURNS} turns on each "
            f"catalogue, all in one Postgres, warm, without Dagster. Nine of ten songs have a row, with "
            f"vectors of 3 numbers; ranges of {RANGE_SIZE:,} songs. "
            f"Target: a range costs at most {FLAT:.0%} more CPU in either of the larger catalogues than in "
            f"the smallest: {verdict}."
        ),
        tables=[
            Table(
                title="One range, in milliseconds",
                columns=["", *_columns(), "growth of CPU"],
                rows=[[name, *_cells(cost, 1000), f"{cost.growth:+.0%}"] for name, cost in a_range.items()],
            ),
            Table(
                title="Everything, in seconds",
                columns=["", *_columns(), "CPU for each further 100,000"],
                rows=[[name, *_cells(cost, 1), _slope(cost)] for name, cost in whole.items()],
                note="These read the whole catalogue, or every key of a range: they grow with it.",
            ),
        ],
        plots=[
            Plot(
                file="growth.svg",
                title="What a range costs",
                x_label="songs in the catalogue",
                y_label="milliseconds of CPU",
                series={
                    name: [(songs, 1000 * cost.cpu[songs]) for songs in SIZES]
                    for name, cost in a_range.items()
                },
                log_x=True,
            )
        ],
        data={
            "a_range": {name: asdict(cost) for name, cost in a_range.items()},
            "everything": {name: asdict(cost) for name, cost in whole.items()},
        },
    )


def _columns() -> list[str]:
    return [f"{songs:,} songs{what}" for what in ("", ": CPU") for songs in SIZES]


def _cells(cost: Cost, factor: int) -> list[float]:
    return [factor * of[songs] for of in (cost.seconds, cost.cpu) for songs in SIZES]


def _slope(cost: Cost) -> float:
    """CPU seconds for each 100,000 songs between the smallest and the largest catalogue."""
    added = cost.cpu[SIZES[-1]] - cost.cpu[SIZES[0]]
    return added / (SIZES[-1] - SIZES[0]) * 100_000


def _say(progress: str) -> None:
    print(f"growth: {progress}", file=sys.stderr, flush=True)

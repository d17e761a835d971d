"""The readiness report over real rows: its numbers are those of SQL, and nothing in its file renders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from aboutness_assets.acceptance.report_content import ReadinessReport
from aboutness_assets.acceptance.report_reading import read_readiness
from aboutness_assets.database.service import report_queries
from aboutness_assets.definitions import defs
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.readiness_report import readiness_report
from aboutness_assets.orchestration.report_html import report_html
from aboutness_assets.orchestration.report_metadata import report_metadata
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.session import open_session, open_unrecorded
from aboutness_assets.settings import load_settings
from tests.support.hostile_words import HOSTILE_WORDS
from tests.support.service_database import ServiceDatabase

MakeService = Callable[..., ServiceDatabase]

RANGES = [SongIdRange("integer", first, first + 19).key for first in (1, 21, 41)]
HOSTILE = [word.replace("\0", "") for word in HOSTILE_WORDS]

SONGS = [(number, HOSTILE[number % len(HOSTILE)], "An artist") for number in range(1, 61)] + [
    (1000, "In no range", "An artist")
]
OLD_STYLE = (
    "insert into song_aboutness (song_id, emotions_text, moments_text, created_at)"
    " select n, 'Old. [confidence: high]', 'Rain.', '2025-03-01' from generate_series(1, 5) n"
)
NEW = (
    "insert into song_aboutness (song_id, emotions_text, moments_text, emotions_confidence,"
    " moments_confidence, emotions_vector, moments_vector, created_at) values (%s, %s, %s, %s, %s,"
    " array_fill(0.5::real, array[8]), array_fill(0.5::real, array[8]), %s)"
)


def execute(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def service(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> ServiceDatabase:
    """35 new rows and 5 old-style ones; one new row is dated before the rollout, one text is too long."""
    made = make_service(songs=SONGS, vector_type="real[]")
    monkeypatch.setenv("DATABASE_URL", made.url)
    monkeypatch.setenv("DAGSTER_PG_URL", made.ops_url)
    execute(made.admin_url, OLD_STYLE)
    async with open_session(load_settings()):
        pass  # the old-style rows are on record now
    for number in range(6, 41):
        execute(
            made.admin_url,
            NEW,
            number,
            "x" * 101 if number == 7 else HOSTILE[number % len(HOSTILE)][:100],
            "a morning" if number % 3 else f"a morning of the year {number}",
            ("low", "medium", "HIGH", "unsure")[number % 4],
            "high",
            "2025-06-01" if number == 8 else f"2026-03-01T10:{number}:00Z",
        )
    execute(
        made.ops_url,
        "insert into aboutness_ops.attempt (table_id, budget, run_id, range_key, kind, model, tier,"
        " state, sent_at, closed_at, usd, max_usd) select table_id, 'default', run, '', kind, 'm',"
        " 'standard', state, began::timestamptz, began::timestamptz + interval '10 minutes', usd, 0.5"
        " from (select table_id from aboutness_ops.old_style_baseline) as t, (values"
        " ('run-1', 'chat', 'billed', '2026-03-01T10:10:00Z', 0.25),"
        " ('run-1', 'embedding', 'billed', '2026-03-01T10:12:00Z', 0.05),"
        " ('run-2', 'chat', 'uncertain', '2026-03-01T11:00:00Z', null)) as v (run, kind, state, began, usd)",
    )
    execute(
        made.ops_url,
        "insert into aboutness_ops.failed_song (table_id, song_id, cause, reason, attempts, quarantined,"
        " request_ids, range_key, run_id)"
        " select table_id, n::text, 'refused', %s, 1, n = 41, '{}', '', 'run-1'"
        " from aboutness_ops.old_style_baseline, generate_series(41, 42) n",
        HOSTILE[14],
    )
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


async def read(keys: list[str] = RANGES, **bounds: int) -> ReadinessReport:
    async with open_unrecorded(load_settings()) as session:
        return await read_readiness(session, keys, **bounds)


async def test_every_number_is_what_sql_counts(service: ServiceDatabase) -> None:
    report = await read()
    assert (report.coverage.songs, report.coverage.with_row) == (61, 40)
    assert (report.coverage.ranges, report.coverage.complete, report.coverage.in_ranges) == (3, 2, 60)
    assert [(part.songs, part.with_row) for part in report.coverage.parts] == [(20, 20), (20, 20), (20, 0)]
    assert (report.rows, report.old_style_recorded) == (40, 5)
    assert (report.read.new_rows, report.read.old_style_rows, report.read.is_everything) == (35, 5, True)
    for kind, about in report.texts.items():
        [(longest, median)] = execute(
            service.admin_url,
            f"select max(char_length({kind}_text)), percentile_disc(0.5) within group (order by"
            f" char_length({kind}_text)) from song_aboutness where song_id > 5",
        )
        assert about.lengths is not None
        assert (about.lengths.longest, about.lengths.median, sum(about.lengths.bars)) == (longest, median, 35)
        shared = execute(
            service.admin_url,
            f"select {kind}_text, count(*) from song_aboutness where song_id > 5"
            " group by 1 having count(*) > 1",
        )
        assert (about.shared.texts, about.shared.songs) == (len(shared), sum(n for _, n in shared))
        assert {(each.text, each.songs) for each in about.shared.most} <= set(shared)
        assert about.shared.most[0].songs == max(n for _, n in shared)
    confidence = execute(
        service.admin_url,
        "select lower(emotions_confidence), count(*) from song_aboutness where song_id > 5 group by 1",
    )
    expected = {"other" if level == "unsure" else level: count for level, count in confidence}
    assert report.texts["emotions"].confidence == expected
    assert report.texts["moments"].confidence == {"low": 0, "medium": 0, "high": 35}
    assert report.texts["emotions"].lengths is not None
    assert report.texts["emotions"].lengths.over_limit == 1
    assert (report.failures.causes, report.failures.quarantined) == ({"refused": 2}, 1)
    assert (round(report.spent.billed_usd, 6), report.spent.uncertain_usd) == (0.3, 0.5)
    assert {run.spending.run_id: run.rows for run in report.throughput.runs} == {"run-1": 13, "run-2": 0}
    assert sum(report.throughput.bars) <= 35
    whys = " ".join(each.why for each in report.sample)
    assert "longest text: 101" in whys
    assert "songs share" in whys
    assert {each.row.title for each in report.sample} <= {title for _, title, _ in SONGS}


async def test_what_was_not_read_is_not_claimed(service: ServiceDatabase) -> None:
    report = await read(ranges_read=1)
    assert (report.read.ranges, report.read.of_ranges, report.read.new_rows) == (1, 3, 15)
    assert (report.coverage.songs, report.coverage.with_row) == (61, 40)
    assert [run.rows for run in report.throughput.runs] == [None, None]


async def test_a_table_that_takes_too_long_leaves_a_report_that_says_so(
    service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_queries, "RANGE_TIMEOUT_MS", 100)
    monkeypatch.setattr(report_queries, "WHOLE_TIMEOUT_MS", 100)
    async with open_unrecorded(load_settings()) as session:
        with psycopg.connect(service.admin_url) as holder:
            holder.execute("lock table song_aboutness in access exclusive mode")
            report = await read_readiness(session, RANGES)
    assert (report.coverage.is_whole, report.coverage.uncounted, report.rows) == (False, 3, None)
    assert (report.read.ranges, report.read.too_long, report.read.new_rows) == (0, 3, 0)
    assert report_metadata(report)["coverage"] == dg.MetadataValue.null()
    page = report_html(report)
    assert "counting took too long" in page
    assert "3 ranges took too long to count" in page
    assert "3 ranges took too long to read" in page


async def test_text_ids_and_an_empty_table(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_service(id_type="text", songs=[("a'b", "Title", None), ("z", None, None)])
    monkeypatch.setenv("DATABASE_URL", made.url)
    monkeypatch.setenv("DAGSTER_PG_URL", made.ops_url)
    report = await read([SongIdRange("text", None, "m").key, SongIdRange("text", "m", None).key])
    assert [(part.songs, part.with_row) for part in report.coverage.parts] == [(1, 0), (1, 0)]
    assert (report.old_style_recorded, report.sample, report.throughput.start) == (None, [], None)


def test_dagster_shows_the_numbers_and_writes_the_file(
    service: ServiceDatabase, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions(SONG_ID_RANGES, RANGES)
    done = dg.materialize([readiness_report], instance=instance, resources={"settings": SettingsResource()})
    [event] = done.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert (metadata["songs"].value, metadata["songs_with_row"].value) == (61, 40)
    assert metadata["coverage"].value == 0.6557
    for picture in ("coverage_by_range", "confidence", "emotions_lengths", "rows_over_time"):
        assert len(str(metadata[picture].value)) < 1000
    page = Path(str(metadata["file"].value)).read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert defs.resolve_asset_graph().get(readiness_report.key).parent_keys == {dg.AssetKey("song_aboutness")}

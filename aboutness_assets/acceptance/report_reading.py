"""Reads what a readiness report needs from both databases; nothing is written, and nothing is asked for.

Coverage is counted in every range. Texts are read range by range, evenly spread over the catalogue, until so
many ranges or rows were read that more would take too long: what is not everything says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from aboutness_assets.acceptance.report_content import (
    KINDS,
    Coverage,
    Failures,
    KindOfText,
    RangeCount,
    ReadinessReport,
    RowsRead,
    Shared,
    SharedText,
    Spent,
)
from aboutness_assets.acceptance.report_figures import (
    confidences_of,
    coverage_of,
    lengths_of,
    shared_hashes,
    throughput_of,
)
from aboutness_assets.acceptance.telling_sample import Chosen, TextRow, choose, spread
from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline, Recorded
from aboutness_assets.database.operations.spending_report import latest_runs, spending_lines
from aboutness_assets.database.service.report_queries import ReportQueries, RowTexts, Texts
from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.domain.id_ranges import SongIdRange, covered_intervals
from aboutness_assets.domain.songs import IdType
from aboutness_assets.money.estimate_text import estimate_basis
from aboutness_assets.money.token_counts import by_characters
from aboutness_assets.pipeline.estimating import LOGGED_BELOW_SONGS, estimate_backfill
from aboutness_assets.pipeline.session import Session

RANGES_READ = 1_000
"""Ranges whose texts are read at most; a range of 1,000 rows takes about a hundredth of a second."""

ROWS_READ = 1_000_000
"""Rows after which no further range is read: about 24 MB of lengths and hashes."""

COUNTED_AT_ONCE = 50
"""Ranges counted in one transaction, which takes about a hundredth of a second."""

SAMPLE = 12
"""Songs in the sample of texts."""

REGIONS = 8
"""Parts of the catalogue over which the random songs of the sample are spread."""

RUNS_COMPARED = 200
"""The latest runs in the ledger, among which it is found out which one was alone."""

FAILURES_SHOWN = 10
"""Failed songs listed, the latest ones."""


@dataclass(slots=True)
class _Reading:
    """What was read of the texts so far; texts and old_style by place of their range."""

    texts: dict[int, list[Texts]] = field(default_factory=dict)
    old_style: dict[int, list[str]] = field(default_factory=dict)
    seconds: Counter[datetime] = field(default_factory=Counter)
    candidates: dict[str, TextRow] = field(default_factory=dict)
    new_rows: int = 0
    too_long: int = 0


async def read_readiness(
    session: Session,
    partition_keys: Sequence[str],
    *,
    ranges_read: int = RANGES_READ,
    rows_read: int = ROWS_READ,
) -> ReadinessReport:
    """The report as of now.

    partition_keys: all ranges, in any order. ranges_read, rows_read: after so many no further texts are read.
    """
    made_at = datetime.now(UTC)
    queries = ReportQueries(session.service_pool, session.songs_query, session.id_type)
    ranges = {
        key: SongIdRange.from_key(key, session.id_type) for key in _in_order(partition_keys, session.id_type)
    }
    whole, rows = await queries.coverage(), await queries.rows()
    counts, uncounted = await count_ranges(queries, ranges)
    coverage = coverage_of(counts, whole, uncounted)
    recorded = await _recorded(session)
    reading = await _read_texts(session, queries, list(ranges.values()), recorded, ranges_read, rows_read)
    read = RowsRead(
        ranges=len(reading.texts),
        of_ranges=len(ranges),
        new_rows=reading.new_rows,
        old_style_rows=sum(len(ids) for ids in reading.old_style.values()),
        too_long=reading.too_long,
    )
    texts = await _what_texts_are_like(queries, list(ranges.values()), reading)
    runs = await latest_runs(session.operations, session.table.table_id, RUNS_COMPARED)
    failed_songs = session.failed_songs(session.range_run())
    return ReadinessReport(
        made_at=made_at,
        coverage=coverage,
        rows=rows,
        old_style_recorded=None if recorded is None else recorded.rows,
        read=read,
        texts=texts,
        failures=Failures(
            await failed_songs.count_by_cause(),
            await failed_songs.count_quarantined(),
            await failed_songs.latest(FAILURES_SHOWN),
        ),
        spent=await _spent(session, coverage, rows, recorded),
        throughput=throughput_of(reading.seconds, runs, is_everything=read.is_everything),
        sample=await _sample(queries, list(reading.candidates.values())),
    )


async def sample_of_ranges(session: Session, range_keys: Sequence[str]) -> list[Chosen]:
    """A telling sample of the new texts of these ranges."""
    queries = ReportQueries(session.service_pool, session.songs_query, session.id_type)
    ranges = [SongIdRange.from_key(key, session.id_type) for key in range_keys]
    reading = await _read_texts(session, queries, ranges, await _recorded(session), RANGES_READ, ROWS_READ)
    return await _sample(queries, list(reading.candidates.values()))


async def count_ranges(
    queries: ReportQueries, ranges: Mapping[str, SongIdRange]
) -> tuple[list[RangeCount], int]:
    """How many songs each range has and how many of them have a row; and how many ranges took too long."""
    counts: list[RangeCount] = []
    keys = list(ranges)
    for first in range(0, len(keys), COUNTED_AT_ONCE):
        chunk = keys[first : first + COUNTED_AT_ONCE]
        found = await queries.range_counts([ranges[key] for key in chunk])
        counts += [RangeCount(key, *each) for key, each in zip(chunk, found, strict=True) if each is not None]
    return counts, len(ranges) - len(counts)


def _in_order(partition_keys: Sequence[str], id_type: IdType) -> list[str]:
    """By id where ids are integers: later partitions may lie between earlier ones. Others come in order."""
    if id_type != "integer":
        return list(partition_keys)
    return [SongIdRange("integer", *interval).key for interval in covered_intervals(partition_keys)]


async def _recorded(session: Session) -> Recorded | None:
    async with session.operations.connection() as own:
        return await OldStyleBaseline(own, session.table.table_id).find()


async def _read_texts(
    session: Session,
    queries: ReportQueries,
    ranges: Sequence[SongIdRange],
    recorded: Recorded | None,
    ranges_read: int,
    rows_read: int,
) -> _Reading:
    reading = _Reading()
    for place in spread(range(len(ranges))):
        if len(reading.texts) + reading.too_long >= ranges_read or reading.new_rows >= rows_read:
            break
        song_id_range = ranges[place]
        old_style = await _old_style_in(session, queries, song_id_range, recorded)
        rows = None if old_style is None else await queries.rows_of_range(song_id_range, old_style)
        if old_style is None or rows is None:
            reading.too_long += 1
            continue
        reading.texts[place] = rows.texts
        reading.old_style[place] = old_style
        reading.seconds.update(dict(rows.by_second))
        reading.new_rows += sum(len(each.lengths) for each in rows.texts if each.kind == KINDS[0])
        region = place * REGIONS // len(ranges)
        reading.candidates.update({row.song_id: _text_row(row, region) for row in rows.candidates})
    return reading


async def _old_style_in(
    session: Session, queries: ReportQueries, song_id_range: SongIdRange, recorded: Recorded | None
) -> list[str] | None:
    """The ids of the range's rows that are on record as old-style; None where reading takes too long.

    A row on record whose date was changed to a later one is not found: it has changed, and
    old_style_rows_untouched says so.
    """
    if recorded is None or not recorded.rows:
        return []
    dated = await queries.dated_before(song_id_range, recorded.rollout_at)
    if not dated:
        return dated
    async with session.operations.connection() as own:
        return sorted(await OldStyleBaseline(own, session.table.table_id).among(dated))


def _text_row(row: RowTexts, region: int) -> TextRow:
    return TextRow(
        row.song_id,
        "",
        "",
        row.emotions,
        row.emotions_confidence,
        row.moments,
        row.moments_confidence,
        region,
    )


async def _what_texts_are_like(
    queries: ReportQueries, ranges: Sequence[SongIdRange], reading: _Reading
) -> dict[str, KindOfText]:
    """By kind. A row with a text that many songs share joins the candidates of the sample."""
    places = sorted(reading.texts)
    every = [each for place in places for each in reading.texts[place]]
    found: dict[str, KindOfText] = {}
    for kind in KINDS:
        number, songs, most = shared_hashes([reading.texts[place] for place in places], kind)
        shared_texts = []
        for shared in most:
            place = places[shared.first_seen_in]
            rows = await queries.rows_of_hashes(ranges[place], reading.old_style[place], [shared.hash])
            if (row := rows.get((kind, shared.hash))) is None:
                continue  # deleted meanwhile
            shared_texts.append(SharedText(row.emotions if kind == "emotions" else row.moments, shared.songs))
            known = reading.candidates.get(row.song_id) or _text_row(row, place * REGIONS // len(ranges))
            shared_by = max(known.shared_by, shared.songs)
            reading.candidates[row.song_id] = replace(known, shared_by=shared_by)
        found[kind] = KindOfText(
            confidences_of(every, kind), lengths_of(every, kind), Shared(number, songs, shared_texts)
        )
    return found


async def _sample(queries: ReportQueries, candidates: Sequence[TextRow]) -> list[Chosen]:
    chosen = choose(candidates, SAMPLE)
    names = await queries.names([each.row.song_id for each in chosen])
    return [
        replace(each, row=replace(each.row, title=title, artist=artist))
        for each in chosen
        for title, artist in [names.get(each.row.song_id, ("", ""))]
    ]


async def _spent(session: Session, coverage: Coverage, rows: int | None, recorded: Recorded | None) -> Spent:
    lines = await spending_lines(session.operations, session.table.table_id)
    left = coverage.songs - coverage.with_row
    if coverage.songs > LOGGED_BELOW_SONGS:
        new_rows = 0 if rows is None else rows - (recorded.rows if recorded else 0)
        billed = sum(line.usd for line in lines)
        if new_rows <= 0 or not billed:
            return Spent(lines, None, "no estimate: the job aboutness_preflight makes one")
        usd = billed / new_rows * left
        return Spent(lines, (usd, usd, usd), f"the {new_rows:,} new rows cost as much each so far")
    try:
        terms = await session.terms()
    except SettingsError:
        return Spent(lines, None, "no estimate: settings of the provider are missing (aboutness_preflight)")
    counter = by_characters()
    found = await estimate_backfill(session, terms, counter)
    figure = found.usd_flex if terms.tariff.tier == "flex" else found.usd_standard
    if figure is None:
        return Spent(lines, None, "no estimate: a price is unknown")
    return Spent(lines, (figure.low, figure.expected, figure.high), estimate_basis(found, counter.source))

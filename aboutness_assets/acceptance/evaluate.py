"""Evaluates the criteria on the rows that exist, in an open session."""

from __future__ import annotations

from collections.abc import Sequence

from aboutness_assets.acceptance.old_style import OldStyleComparison, compare_with_baseline
from aboutness_assets.acceptance.smoke import SmokeLine, smoke_lines
from aboutness_assets.acceptance.verdicts import (
    Verdict,
    failed_songs_verdict,
    old_style_verdict,
    ready_verdict,
    text_verdicts,
)
from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline
from aboutness_assets.database.service import catalogue
from aboutness_assets.database.service.old_style_rows import OldStyleRows
from aboutness_assets.database.service.range_conditions import within
from aboutness_assets.database.service.text_criteria import WHOLE_TABLE, count_violations, heap_bytes
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import Song
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.session import Session

FAILED_SONGS_SHOWN = 100
"""Failed songs listed with the check; all of them are in aboutness_ops.failed_song."""

WHOLE_TABLE_BELOW_BYTES = 8 * 2**20
"""Up to this size of the main heap (about 25,000 rows) the checks after a range look at the whole table: that
costs no more than the range alone (benchmarks/growth.py)."""


async def evaluate_criteria(
    session: Session,
    range_keys: Sequence[str] = (),
    *,
    whole_table_below_bytes: int = WHOLE_TABLE_BELOW_BYTES,
) -> list[Verdict]:
    """Evaluate every criterion on song_aboutness.

    range_keys: the ranges that were just written, where every criterion held before that: as rows are only
    ever inserted, a large table then need not be looked at as a whole again.
    """
    async with session.service_pool.connection() as connection:
        partly = bool(range_keys) and await heap_bytes(connection) > whole_table_below_bytes
        ranges = [SongIdRange.from_key(key, session.id_type) for key in range_keys] if partly else []
        looked_at = f"the ranges just written ({len(ranges)})" if partly else "the whole table"
        counts = await count_violations(
            connection, session.rollout_at, within(ranges) if partly else WHOLE_TABLE
        )
        songs, rows = await (catalogue.estimated_coverage if partly else catalogue.coverage)(
            connection, session.songs_query
        )
    verdicts = text_verdicts(counts, looked_at)
    verdicts.append(old_style_verdict(await _old_style(session)))
    verdicts.append(ready_verdict(songs, rows, verdicts, estimated=partly))
    failed_songs = session.failed_songs(session.range_run())
    verdicts.append(
        failed_songs_verdict(
            await failed_songs.count_by_cause(), await failed_songs.latest(FAILED_SONGS_SHOWN)
        )
    )
    return verdicts


async def evaluate_smoke_run(session: Session, songs: Sequence[Song], report: Report) -> list[SmokeLine]:
    """The acceptance table of a smoke run over these songs."""
    async with session.service_pool.connection() as connection:
        rows = await count_violations(
            connection, session.rollout_at, session.table.among([song.song_id for song in songs])
        )
    return smoke_lines(report, rows, await _old_style(session), session.pack_size)


async def _old_style(session: Session) -> OldStyleComparison:
    async with session.service_pool.connection() as connection, session.operations.connection() as own:
        rows = OldStyleRows(connection, session.id_type)
        baseline = OldStyleBaseline(own, session.table.table_id, session.rollout_at)
        return await compare_with_baseline(rows, baseline)

"""Evaluates the criteria on the rows that exist, in an open session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aboutness_assets.acceptance.coverage import count_coverage_of_ranges, count_whole_coverage
from aboutness_assets.acceptance.looks import (
    KNOWN_AT_MOST,
    OLD_STYLE_ROW_CHANGED,
    OLD_STYLE_ROW_GONE,
    Look,
    look_at_rows,
)
from aboutness_assets.acceptance.old_style import OldStyleComparison, compare_with_baseline
from aboutness_assets.acceptance.smoke import SmokeLine, smoke_lines
from aboutness_assets.acceptance.verdicts import (
    LookedAt,
    Verdict,
    failed_songs_verdict,
    new_row_verdicts,
    old_style_verdict,
    ready_verdict,
)
from aboutness_assets.database.operations.old_style_baseline import OldStyleBaseline, Recorded
from aboutness_assets.database.operations.verification import WHOLE_TABLE_KEY, WholeLook
from aboutness_assets.database.service.old_style_rows import OldStyleRows
from aboutness_assets.database.service.range_conditions import within
from aboutness_assets.database.service.row_criteria import RowReader, heap_bytes, open_row_reader
from aboutness_assets.domain.errors import WholeLookNeeded
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import Song
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.session import Session

FAILED_SONGS_SHOWN = 100
"""Failed songs listed with the check; all of them are in aboutness_ops.failed_song."""

WHOLE_TABLE_BELOW_BYTES = 8 * 2**20
"""Up to this size of the main heap (about 25,000 rows) checks after a range look at all of the table: it
costs no more than the range alone (benchmarks/growth.py)."""

LONG_LOOK_ABOVE_BYTES = 512 * 2**20
"""From this size of the main heap on (about 3 million rows) a look at all rows may outlast the 60 s that a
sensor's tick has: ten million rows take 20 s of CPU when all is in memory (benchmarks/growth.py)."""

MANY_RANGES = 1_000
"""To look at more ranges takes as long as a look at all rows."""

RANGES_AT_ONCE = 50
"""Ranges in one statement: Postgres compares each row that it reads with each of them."""

COMPARED_AFTER_A_RANGE = 300
"""Up to so many old-style rows, all are compared after each range; more, when all rows are looked at."""


async def evaluate_criteria(
    session: Session,
    range_keys: Sequence[str] = (),
    partition_keys: Sequence[str] = (),
    *,
    since_last_look: bool = False,
    whole_table_below_bytes: int = WHOLE_TABLE_BELOW_BYTES,
) -> list[Verdict]:
    """Evaluate every criterion on song_aboutness; one process at a time does so.

    range_keys: the ranges that were just written. Then the rows looked at are theirs, those of ranges that a
    killed run left behind, and those that are known to violate something; but all rows where the table is
    small, and where no look at all of it is on record. Without range_keys, all rows.
    since_last_look: as after a run, though none has just written: for what runs that ended early left behind.
    Then WholeLookNeeded is raised where the rows to look at are too many for a sensor's tick.
    partition_keys: all ranges, so that the songs of the others need not be counted again.
    """
    verification = session.verification
    async with session.checks_alone() as hold_idle:
        marked = await verification.marked()
        verified = {key: marked[key] for key in await hold_idle(marked)}
        ranges = sorted({*range_keys, *verified} - {WHOLE_TABLE_KEY})
        async with _open_looking(session) as looking:
            heap = await heap_bytes(looking.reader.connection)
            is_small, is_large = heap <= whole_table_below_bytes, heap > LONG_LOOK_ABOVE_BYTES
            last = await verification.whole_look(looking.reader.demands)
            found = None
            has_little_time = since_last_look and is_large
            is_enough = bool(range_keys) or (
                since_last_look and not (has_little_time and len(ranges) > MANY_RANGES)
            )
            if is_enough and last is not None and not is_small and WHOLE_TABLE_KEY not in verified:
                found = await looking.at_ranges(ranges, last, await verification.violations())
            is_whole = found is None
            if is_whole and has_little_time:
                raise WholeLookNeeded(
                    "More rows of song_aboutness are to be looked at than a sensor has time for. Run the job "
                    "aboutness_checks."
                )
            found = found or await looking.at_everything()
        if not found.is_named:
            await verification.forget_whole_look()
        await verification.record(
            found.violations,
            verified,
            (looking.reader.demands, found.looked_at.whole) if is_whole and found.is_named else None,
        )
        if partition_keys and not is_small:
            recount = None if is_whole else ranges
            coverage = await count_coverage_of_ranges(session, partition_keys, recount)
        else:
            coverage = await count_whole_coverage(session)
    verdicts = new_row_verdicts(found.look, found.looked_at)
    verdicts.append(old_style_verdict(found.old_style, found.look, found.looked_at))
    verdicts.append(ready_verdict(coverage, verdicts))
    failed_songs = session.failed_songs(session.range_run())
    verdicts.append(
        failed_songs_verdict(
            await failed_songs.count_by_cause(),
            await failed_songs.count_quarantined(),
            await failed_songs.latest(FAILED_SONGS_SHOWN),
        )
    )
    return verdicts


async def evaluate_smoke_run(session: Session, songs: Sequence[Song], report: Report) -> list[SmokeLine]:
    """The acceptance table of a smoke run over these songs."""
    async with _open_looking(session) as looking:
        chosen = session.table.among([song.song_id for song in songs])
        look = await look_at_rows(looking.reader, looking.baseline, chosen)
        old_style = await looking.compare()
    return smoke_lines(report, look, old_style, session.pack_size)


@dataclass(frozen=True, slots=True)
class _Found:
    """What one evaluation found in the rows, and in which."""

    look: Look
    old_style: OldStyleComparison
    looked_at: LookedAt

    @property
    def violations(self) -> dict[str, list[str]]:
        """The song ids to be recorded, by violation; none where they are too many to be named."""
        if not self.is_named:
            return {}
        return {
            **self.look.song_ids,
            OLD_STYLE_ROW_CHANGED: self.old_style.changed,
            OLD_STYLE_ROW_GONE: self.old_style.gone,
        }

    @property
    def is_named(self) -> bool:
        """Whether every violating row is named, so that later evaluations can look at it again."""
        broken = (self.old_style.changed, self.old_style.gone)
        return self.look.is_complete and all(len(ids) <= KNOWN_AT_MOST for ids in broken)


@dataclass(frozen=True, slots=True)
class _Looking:
    """Connections to both databases and what is read on them."""

    session: Session
    reader: RowReader
    baseline: OldStyleBaseline
    recorded: Recorded
    old_style_rows: OldStyleRows

    async def at_everything(self) -> _Found:
        """Look at the whole table."""
        now = datetime.now(UTC)
        look = await look_at_rows(self.reader, self.baseline)
        return _Found(look, await self.compare(), LookedAt(WholeLook(now, look.rows)))

    async def at_ranges(
        self, range_keys: Sequence[str], last: WholeLook, known: Mapping[str, Sequence[str]]
    ) -> _Found | None:
        """Look at these ranges and again at the rows that are known to violate something.

        None where so many of them do that they cannot be told from those that are known.
        """
        ranges = [SongIdRange.from_key(key, self.session.id_type) for key in range_keys]
        look = Look()
        for first in range(0, len(ranges), RANGES_AT_ONCE):
            some = within(ranges[first : first + RANGES_AT_ONCE])
            look.add_others(await look_at_rows(self.reader, self.baseline, some))
        if not look.is_complete:
            return None
        broken = {OLD_STYLE_ROW_CHANGED, OLD_STYLE_ROW_GONE}
        suspects = {song_id for name, ids in known.items() if name not in broken for song_id in ids}
        if suspects:
            again = await look_at_rows(self.reader, self.baseline, self.session.table.among(suspects))
            look.add_unknown(again)
        old_style = await self.compare([song_id for name in broken for song_id in known.get(name, [])])
        return _Found(look, old_style, LookedAt(last, len(ranges), look.rows))

    async def compare(self, among: Collection[str] | None = None) -> OldStyleComparison:
        """Compare the recorded old-style rows: all, or where they are many those among these songs."""
        if among is not None and self.recorded.rows <= COMPARED_AFTER_A_RANGE:
            among = None
        return await compare_with_baseline(self.old_style_rows, self.baseline, self.recorded, among)


@asynccontextmanager
async def _open_looking(session: Session) -> AsyncIterator[_Looking]:
    async with session.service_pool.connection() as connection, session.operations.connection() as own:
        baseline = OldStyleBaseline(own, session.table.table_id)
        recorded = await baseline.recorded()
        reader = await open_row_reader(connection, session.table, recorded.rollout_at)
        yield _Looking(session, reader, baseline, recorded, OldStyleRows(connection, session.id_type))

"""What the checks have looked at is on record: no later range, no kill and no other process hides anything.

The table counts as large throughout, so that the checks after a range look at that range alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.database.service.range_conditions import within
from aboutness_assets.domain.id_ranges import SongIdRange
from tests.support.backfills import LOG, ONE_OLD_STYLE_ROW, Backfills
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]

RANGES = [SongIdRange("integer", first, first + 9).key for first in (1, 11, 21, 31)]
FIRST, SECOND, THIRD, FOURTH = RANGES

ROWS = (
    "insert into song_aboutness (song_id, emotions_text, moments_text, emotions_confidence,"
    " moments_confidence, emotions_vector, moments_vector) select n, 'joy', 'a morning', 'low', 'high',"
    " array_fill(0.5::real, array[8]), array_fill(0.5::real, array[8])"
    " from generate_series(%s::int, %s::int) n"
)


@pytest.fixture
def backfills(make_service: MakeService, stand_in: StandIn) -> Backfills:
    songs = [(number, f"Title {number}", "Artist") for number in range(1, 41)]
    return Backfills(make_service(songs=songs, vector_type="real[]"), stand_in)


class Checks:
    """The checks of a table that counts as large, and what a run does that fills one of its ranges."""

    def __init__(self, backfills: Backfills) -> None:
        self.backfills = backfills

    async def look_at(self, *range_keys: str) -> dict[str, Verdict]:
        """The verdicts after these ranges, or on the whole table."""
        verdicts = await self.backfills.criteria(range_keys, RANGES, whole_table_below_bytes=-1)
        return {verdict.name: verdict for verdict in verdicts}

    async def write(
        self,
        range_key: str,
        *,
        spoil: str = "",
        written: asyncio.Event | None = None,
        until: asyncio.Event | None = None,
    ) -> None:
        """Write the rows of a range as a run does, under its lock, but do not check them."""
        found = SongIdRange.from_key(range_key, "integer")
        async with self.backfills.session() as session, session.exclusively([range_key], LOG):
            self.backfills.arrange(ROWS, [found.lower, found.upper])
            if spoil:
                self.spoil(spoil)
            if written is not None:
                written.set()
            if until is not None:
                await until.wait()

    def spoil(self, condition: str) -> None:
        self.backfills.arrange(f"update song_aboutness set moments_text = repeat('x', 101) where {condition}")

    def marked(self) -> list[str]:
        rows = self.backfills.journal("select range_key from aboutness_ops.unverified_range order by 1")
        return [key for (key,) in rows]


@pytest.fixture
async def checks(backfills: Backfills) -> Checks:
    """The first look at a table is a look at the whole of it."""
    checks = Checks(backfills)
    verdicts = await checks.look_at(FIRST)
    assert verdicts["new_rows_complete"].details["looked_at"] == "the whole table, 0 rows"
    return checks


def too_long(verdicts: dict[str, Verdict]) -> Any:
    verdict = verdicts["moments_text_within_100_chars"]
    assert verdict.passed is not bool(verdict.details["song_ids"])
    assert verdict.details["rows_violating"] == len(verdict.details["song_ids"])  # type: ignore[arg-type]
    return verdict.details["song_ids"]


async def test_after_a_range_its_rows_alone_are_looked_at(checks: Checks) -> None:
    for range_key in (FIRST, SECOND):
        await checks.write(range_key)
        assert checks.marked() == [range_key]
        verdict = (await checks.look_at(range_key))["new_rows_complete"]
        assert verdict.passed
        assert verdict.details["rows_looked_at"] == 10
        assert checks.marked() == []


async def test_no_later_range_hides_a_violation_and_a_repaired_row_is_forgotten(checks: Checks) -> None:
    await checks.write(FIRST, spoil="song_id in (3, 4)")
    assert too_long(await checks.look_at(FIRST)) == ["3", "4"]
    await checks.write(SECOND)
    assert too_long(await checks.look_at(SECOND)) == ["3", "4"]

    checks.backfills.arrange("update song_aboutness set moments_text = 'fine' where song_id = 3")
    checks.backfills.arrange("delete from song_aboutness where song_id = 4")
    await checks.write(THIRD, spoil="song_id = 25")

    assert too_long(await checks.look_at(THIRD)) == ["25"]


async def test_what_a_killed_run_wrote_is_looked_at_after_the_next_range(checks: Checks) -> None:
    await checks.write(FIRST, spoil="song_id = 5")  # and no checks

    await checks.write(SECOND)

    assert too_long(await checks.look_at(SECOND)) == ["5"]
    assert checks.marked() == []


async def test_what_a_failed_run_wrote_is_looked_at_without_another_range(checks: Checks) -> None:
    async def look_since() -> dict[str, Verdict]:
        verdicts = await checks.backfills.criteria(
            (), RANGES, since_last_look=True, whole_table_below_bytes=-1
        )
        return {verdict.name: verdict for verdict in verdicts}

    await checks.write(SECOND)
    assert (await look_since())["new_rows_complete"].details["looked_at"] == "the whole table, 10 rows"
    await checks.write(FIRST, spoil="song_id = 5")  # and no checks

    for looked_at in ("10 rows of 1 ranges", "0 rows of 0 ranges"):
        found = await look_since()
        assert too_long(found) == ["5"]
        assert (
            f"Looked at: {looked_at}; the whole table, 10 rows, at " in found["new_rows_complete"].description
        )


async def test_two_runs_that_end_at_once_both_see_what_either_wrote(checks: Checks) -> None:
    await asyncio.gather(
        checks.write(FIRST, spoil="song_id = 5"),
        checks.write(SECOND),
        checks.write(THIRD, spoil="song_id = 22"),
    )

    verdicts = await asyncio.gather(*(checks.look_at(key) for key in (FIRST, SECOND, THIRD)))

    assert [sorted(too_long(each)) for each in verdicts] == [["22", "5"]] * 3


async def test_a_range_that_a_run_still_holds_stays_marked(checks: Checks) -> None:
    written, over = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(checks.write(FIRST, written=written, until=over))
        await written.wait()
        await checks.write(SECOND)
        await checks.look_at(SECOND)
        assert checks.marked() == [FIRST]
        checks.spoil("song_id = 5")
        over.set()

    assert too_long(await checks.look_at(THIRD)) == ["5"]


async def test_a_range_that_was_marked_again_meanwhile_stays_marked(checks: Checks) -> None:
    await checks.write(FIRST)
    async with checks.backfills.session() as session:
        verification = session.verification
        marked = await verification.marked()
        await verification.mark([FIRST])
        await verification.record({}, marked)

    assert checks.marked() == [FIRST]


async def test_a_run_that_may_write_any_row_makes_the_whole_table_be_looked_at(checks: Checks) -> None:
    await checks.backfills.smoke()
    checks.spoil("song_id = 39")

    assert too_long(await checks.look_at(FIRST)) == ["39"]
    assert checks.marked() == []


async def test_what_others_do_in_a_range_that_was_looked_at_the_whole_look_sees(checks: Checks) -> None:
    await checks.write(FIRST)
    await checks.look_at(FIRST)
    checks.spoil("song_id = 7")
    await checks.write(SECOND)

    assert too_long(await checks.look_at(SECOND)) == []
    assert too_long(await checks.look_at()) == ["7"]
    await checks.write(THIRD)
    assert too_long(await checks.look_at(THIRD)) == ["7"]


async def test_more_violations_than_can_be_named_make_every_look_a_whole_one(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("looks", "evaluate"):
        monkeypatch.setattr(f"aboutness_assets.acceptance.{module}.KNOWN_AT_MOST", 3)
    await checks.write(FIRST, spoil="true")
    for range_key in (FIRST, SECOND):
        details = (await checks.look_at(range_key))["moments_text_within_100_chars"].details
        assert details["rows_violating"] == 10
        assert details["looked_at"] == "the whole table, 10 rows"


async def test_many_ranges_are_looked_at_a_few_at_a_time(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(ranges: Sequence[SongIdRange]) -> Any:
        asked.append(len(ranges))
        return within(ranges)

    monkeypatch.setattr("aboutness_assets.acceptance.evaluate.RANGES_AT_ONCE", 2)
    monkeypatch.setattr("aboutness_assets.acceptance.evaluate.within", counted)
    await checks.write(FIRST)
    await checks.look_at(FIRST)
    asked.clear()
    for range_key in (SECOND, THIRD, FOURTH):  # two of the runs were killed before their checks
        await checks.write(range_key, spoil="song_id in (15, 35)")

    found = await checks.look_at(FOURTH)

    assert asked == [2, 1]
    assert too_long(found) == ["15", "35"]
    assert found["new_rows_complete"].details["rows_looked_at"] == 30


async def test_other_demands_need_another_look(checks: Checks) -> None:
    await checks.write(FIRST)
    await checks.look_at(FIRST)
    checks.backfills.arrange_own("update aboutness_ops.whole_look set criteria = 'of an earlier version'")

    verdict = (await checks.look_at(SECOND))["new_rows_complete"]

    assert verdict.details["looked_at"] == "the whole table, 10 rows"


async def test_old_style_rows_that_are_added_changed_or_gone_stay_known(
    make_service: MakeService, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aboutness_assets.acceptance.evaluate.COMPARED_AFTER_A_RANGE", 0)
    backfills = Backfills(make_service(songs=[(1, "Title", "Artist")], vector_type="real[]"), stand_in)
    for number in (2, 3, 4):
        backfills.arrange(ONE_OLD_STYLE_ROW, [number, "Old style."])
    checks = Checks(backfills)
    assert (await checks.look_at())["old_style_rows_untouched"].passed
    backfills.arrange("update song_aboutness set moments_text = 'changed' where song_id = 2")
    backfills.arrange("delete from song_aboutness where song_id = 3")
    backfills.arrange(ONE_OLD_STYLE_ROW, [5, "Old style."])

    for range_keys in ((), (SECOND,), (THIRD,)):
        verdict = (await checks.look_at(*range_keys))["old_style_rows_untouched"]
        assert not verdict.passed
        found = {name: verdict.details[f"rows_{name}"] for name in ("changed", "gone", "added")}
        assert found == {"changed": 1, "gone": 1, "added": 1}
        assert verdict.details["song_ids"] == ["2", "3", "5"]


async def test_the_rollout_may_move_and_old_rows_hide_nowhere(checks: Checks) -> None:
    backfills = checks.backfills
    await checks.write(FIRST)
    for moved_to in ("2025-01-01T00:00:00Z", "2026-08-01T00:00:00Z"):
        backfills.settings_of_all_runs["rollout_at"] = moved_to
        verdicts = await checks.look_at()
        assert verdicts["old_style_rows_untouched"].passed
        assert verdicts["new_rows_complete"].details["rows_looked_at"] == 10
    backfills.arrange(ONE_OLD_STYLE_ROW, [12, "Old style. " * 20])

    verdicts = await checks.look_at()

    failing = {name for name, verdict in verdicts.items() if not verdict.passed}
    assert failing == {
        "emotions_text_within_100_chars",
        "moments_text_without_confidence_tag",
        "new_rows_complete",
        "old_style_rows_untouched",
        "ready_to_enable",
    }


def coverage(verdicts: dict[str, Verdict]) -> tuple[Any, Any]:
    details = verdicts["ready_to_enable"].details
    return details["songs"], details["songs_with_row"]


async def test_the_coverage_is_the_sum_of_what_was_counted(checks: Checks) -> None:
    backfills = checks.backfills
    await checks.write(FIRST)
    assert coverage(await checks.look_at(FIRST)) == (40, 10)
    await checks.write(SECOND)
    ready = (await checks.look_at(SECOND))["ready_to_enable"]
    assert ready.passed
    assert ready.description.startswith("20 of 40 songs (50.0%) have a row; 50% are needed. Counted range by")
    # Rows of songs that the catalogue lacks count for nothing; the whole look counts what others did.
    backfills.arrange(ROWS, [1_001, 2_000])
    backfills.arrange(ROWS, [31, 35])
    backfills.arrange("insert into songs select n, 'New', 'Artist' from generate_series(41, 60) n")
    assert coverage(await checks.look_at(THIRD)) == (40, 20)
    assert coverage(await checks.look_at()) == (60, 25)
    assert coverage(await checks.look_at(THIRD)) == (60, 25)


async def test_songs_of_no_partition_are_songs_of_the_catalogue(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def partitions(*keys: str) -> None:
        monkeypatch.setattr(f"{__name__}.RANGES", list(keys))

    await checks.write(FIRST)
    for keys in ((FIRST,), (FIRST, THIRD), RANGES, (FOURTH,), ()):
        partitions(*keys)
        assert coverage(await checks.look_at(FIRST)) == (40, 10)


async def test_another_songs_query_is_counted_again(checks: Checks) -> None:
    await checks.write(FIRST)
    assert coverage(await checks.look_at(FIRST)) == (40, 10)
    few = "select song_id, title, artist from songs where song_id < 16"
    checks.backfills.settings_of_all_runs["songs_query"] = few

    assert coverage(await checks.look_at(FIRST)) == (15, 10)


@pytest.mark.parametrize(("id_type", "ids"), [("text", ["a", "b", "é"]), ("uuid", [])])
async def test_text_and_uuid_ids_are_covered_by_their_partitions(
    make_service: MakeService, stand_in: StandIn, id_type: str, ids: Sequence[str]
) -> None:
    ids = ids or [f"{number:08d}-0000-0000-0000-000000000000" for number in (1, 2, 3)]
    songs = [(song_id, "Title", "Artist") for song_id in ids]
    backfills = Backfills(make_service(id_type=id_type, vector_type="real[]", songs=songs), stand_in)
    keys = await Backfills(
        backfills.service, stand_in, settings_of_all_runs={"range_size": 2}
    ).create_partitions([])
    assert len(keys) == 2
    for partition_keys in ([], keys):
        for range_keys in ((), keys[:1]):
            verdicts = await backfills.criteria(range_keys, partition_keys, whole_table_below_bytes=-1)
            [ready] = [verdict for verdict in verdicts if verdict.name == "ready_to_enable"]
            assert (ready.details["songs"], ready.details["songs_with_row"]) == (3, 0)

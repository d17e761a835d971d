"""How far a backfill is, in Dagster's UI: observations of backfill_progress, and tags of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import dagster as dg

from aboutness_assets.database.operations.run_progress import BackfillState, Outcome
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.orchestration.catalog_card import owners
from aboutness_assets.orchestration.event_log import EventLogWriter
from aboutness_assets.orchestration.markdown import plain
from aboutness_assets.orchestration.progress_picture import Bar, picture
from aboutness_assets.pipeline.backfill_progress import Budget, songs_left
from aboutness_assets.pipeline.progress import RunFigures, clock, percent
from aboutness_assets.pipeline.report import dollars

BACKFILL_TAG = "dagster/backfill"

PROGRESS_TAG, SPENT_TAG, LEFT_TAG = "progress", "spent", "left"
"""Tags of every run that fills; Dagster's UI shows them as pills."""

FAILED_SONGS = "/assets/song_aboutness?view=checks&checkDetail=no_failed_songs"

backfill_progress = dg.AssetSpec(
    "backfill_progress",
    description=(
        "How far the latest backfill is: a picture, the pace of the last minute, what limits it, the time "
        "left, and what is spent. The runs that fill observe it while they work: every few seconds at first, "
        "more rarely the longer the backfill takes. It needs no materialization."
    ),
    deps=["song_aboutness"],
    group_name="aboutness",
    owners=owners(),
    kinds={"dagster"},
)


class DagsterAudience:
    """Shows how far a run is and, now and then, its whole backfill; an Audience.

    backfill_id: of Dagster's backfill, or the run's own id. It writes by the event log's thread alone.
    """

    def __init__(
        self, context: dg.OpExecutionContext | dg.AssetExecutionContext, event_log: EventLogWriter
    ) -> None:
        self._context = context
        self._event_log = event_log
        self._of_dagster = context.run.tags.get(BACKFILL_TAG)
        self.backfill_id = self._of_dagster or context.run.run_id
        if PROGRESS_TAG in context.run.tags:  # of the run that this one is a re-execution of
            self._tag({PROGRESS_TAG: "nothing filled yet", SPENT_TAG: "-", LEFT_TAG: "?"})

    def range_keys(self) -> Sequence[str] | None:
        """All ranges of the backfill; None where the run is no part of one, or Dagster does not know it."""
        if self._of_dagster is None:
            return None
        backfill = self._context.instance.get_backfill(self._of_dagster)
        if backfill is None:
            return None
        if not backfill.is_asset_backfill:
            return backfill.partition_names
        data = backfill.get_asset_backfill_data(self._context.repository_def.asset_graph)
        return list(data.get_target_partitions_subset(dg.AssetKey("song_aboutness")).get_partition_keys())

    def tell(
        self, run: RunFigures, outcome: Outcome | None, backfill: BackfillState | None, budget: Budget
    ) -> None:
        """See Audience."""
        self._tag(run_tags(run, outcome), may_be_left_out=outcome is None)
        if backfill is not None:
            observation = dg.AssetObservation(
                backfill_progress.key,
                metadata=observation_metadata(
                    run, backfill, budget, self._context.run.run_id, self._of_dagster, outcome
                ),
            )
            # Outside of the run, whose log has a line that says the same: there it would be a tall box each.
            self._event_log.try_submit(
                lambda: self._context.instance.report_runless_asset_event(observation),
                "an observation of backfill_progress",
                may_be_left_out=outcome is None,
            )

    def _tag(self, tags: dict[str, str], *, may_be_left_out: bool = False) -> None:
        self._event_log.try_submit(
            lambda: self._context.instance.add_run_tags(self._context.run.run_id, tags),
            "the tags that tell how far the run is",
            may_be_left_out=may_be_left_out,
        )


def run_tags(run: RunFigures, outcome: Outcome | None) -> dict[str, str]:
    """What a run has done, in three short tags."""
    share = f"{run.done:,} songs" if run.songs is None else percent(run.done, run.songs)
    if outcome is None:
        progress = f"{share}, {run.songs_per_second:.3g} songs/s"
    else:
        progress = f"{outcome}: {share}, {run.written:,} rows written"
    left = "?" if run.left is None else f"{run.left:,} songs"
    if outcome is None:
        left += ", ? to go" if run.seconds_left is None else f", {clock(run.seconds_left)} to go"
    if run.failed:
        left += f", {run.failed:,} failed"
    return {
        PROGRESS_TAG: progress,
        SPENT_TAG: _spent(run.usd, run.uncertain_usd, run.is_pretend),
        LEFT_TAG: left,
    }


def observation_metadata(
    run: RunFigures,
    backfill: BackfillState,
    budget: Budget,
    run_id: str,
    of_dagster: str | None,
    outcome: Outcome | None,
) -> dict[str, Any]:
    """How far a backfill is. run: of the run that tells; of_dagster: Dagster's id of the backfill, if any."""
    left = songs_left(backfill)
    metadata: dict[str, Any] = {
        "progress": dg.MetadataValue.md(picture(bars(backfill))),
        "songs_per_second": round(backfill.songs_per_second, 2),
        "time_left": _time_left(backfill, left),
        "limited_by": "; ".join(map(printable_line, backfill.limited_by))
        or ("?" if backfill.running else "no run fills now"),
        "spent": _spent_of_cap(backfill, budget, run.is_pretend),
        "runs": _runs(backfill, run_id, outcome),
        "links": dg.MetadataValue.md(links(backfill.running or [run_id], of_dagster)),
        "songs_written": backfill.written,
        "songs_failed": backfill.failed,
    }
    if left is not None:
        metadata["songs_left"] = left
    if backfill.usd is not None:
        metadata["usd_spent"] = round(backfill.usd, 6)
    if backfill.counted_at is not None:
        of_what = f"in its {backfill.ranges:,} ranges" if backfill.ranges else "chosen"
        metadata["counted"] = (
            f"{backfill.catalogue_songs:,} songs of the catalogue, {backfill.songs:,} {of_what}, "
            f"at {backfill.counted_at:%Y-%m-%d %H:%M:%S %Z}"
        )
    return metadata


def bars(backfill: BackfillState) -> list[Bar]:
    """What is done, failed and left of the backfill and of the whole catalogue."""
    left = songs_left(backfill)
    if left is None or backfill.catalogue_songs is None or backfill.catalogue_with_row is None:
        return [Bar("This backfill", backfill.written, backfill.failed, None)]
    assert backfill.songs is not None
    with_row = min(backfill.catalogue_songs, backfill.catalogue_with_row + backfill.all_written_since)
    failed = min(backfill.catalogue_failed, backfill.catalogue_songs - with_row)
    return [
        Bar("This backfill", max(0, backfill.songs - left - backfill.failed), backfill.failed, left),
        Bar("Catalogue", with_row, failed, backfill.catalogue_songs - with_row - failed),
    ]


def links(run_ids: Sequence[str], of_dagster: str | None) -> str:
    """Markdown links to the runs at work, to their backfill, and to the failed songs."""
    parts = [f"[run {plain(run_id[:8])}](/runs/{quote(run_id, safe='')})" for run_id in run_ids[:4]]
    if of_dagster is not None:
        parts.append(f"[backfill {plain(of_dagster)}](/runs/b/{quote(of_dagster, safe='')})")
    return " · ".join([*parts, f"[failed songs]({FAILED_SONGS})"])


def _time_left(backfill: BackfillState, left: int | None) -> str:
    if left == 0:
        return "none"
    if left is None:
        return "? (the songs are being counted)"
    if not (backfill.running and backfill.is_settled and backfill.songs_per_second):
        return "?"
    return f"{clock(left / backfill.songs_per_second)} at this pace"


def _spent(usd: float | None, uncertain_usd: float, is_pretend: bool) -> str:
    uncertain = f", {dollars(uncertain_usd)} uncertain" if uncertain_usd else ""
    return f"{dollars(usd)}{uncertain}{' (pretend price)' if is_pretend else ''}"


def _spent_of_cap(backfill: BackfillState, budget: Budget, is_pretend: bool) -> str:
    by_backfill = _spent(backfill.usd, backfill.uncertain_usd, is_pretend)
    name = printable_line(budget.name)
    uncertain = (
        f", {dollars(backfill.budget_uncertain_usd)} uncertain" if backfill.budget_uncertain_usd else ""
    )
    if budget.max_usd is None:
        return f"{by_backfill}; no cap (budget {name}: {dollars(backfill.budget_usd)}{uncertain})"
    return (
        f"{by_backfill}; budget {name}: {dollars(backfill.budget_usd)}{uncertain} "
        f"of {dollars(budget.max_usd)}"
    )


def _runs(backfill: BackfillState, run_id: str, outcome: Outcome | None) -> str:
    parts = [f"{len(backfill.running)} at work", f"{backfill.runs - len(backfill.running)} ended"]
    if backfill.silent_runs:
        parts[1] = f"{backfill.runs - len(backfill.running) - backfill.silent_runs} ended"
        parts.append(f"{backfill.silent_runs} not heard of since {backfill.silent_since:%H:%M:%S %Z}")
    if outcome is not None:
        parts.append(f"the latest, {run_id[:8]}, {_ENDS[outcome]}")
    return ", ".join(parts)


_ENDS: dict[Outcome, str] = {"done": "did its ranges", "failed": "failed", "canceled": "was canceled"}

"""How many partitions a run, and how many runs at once: what the defaults were chosen by."""

from __future__ import annotations

import sys
from dataclasses import asdict

from benchmarks.dagster_backfill import Backfilled, fill_in_a_bare_process, fill_with_dagster
from benchmarks.dagster_share import LOADS, Load
from benchmarks.environment import environment
from benchmarks.result import Plot, Result, Table

SONGS = 60_000
"""60 ranges of 1,000 songs."""

CELLS = ((1, 2), (5, 2), (10, 2), (20, 2), (60, 2), (20, 1), (20, 3))
"""Partitions a run, runs at once."""


def run() -> Result:
    """Fill the catalogue in every way under each load."""
    bare = {load.name: _bare(load) for load in LOADS}
    filled = {load.name: {cell: _filled(load, cell) for cell in CELLS} for load in LOADS}
    two_at_once = [cell for cell in CELLS if cell[1] == 2]
    return Result(
        name="partitions_per_run",
        title="How many partitions a run",
        summary=(
            f"A backfill of {SONGS:,} songs, in ranges of 1,000, by Dagster's daemon: seconds from when the "
            "daemon saw it until every song had its row, with more or fewer partitions a run "
            "(`ABOUTNESS_PARTITIONS_PER_RUN`) and runs at once (`max_concurrent_runs` of dagster.yaml)."
        ),
        tables=[
            Table(
                title=load.name,
                columns=["partitions a run", "runs at once", "runs", "seconds", "Dagster's share"],
                rows=[
                    [*cell, of.runs, of.filled, f"{1 - bare[load.name] / of.filled:.1%}"]
                    for cell, of in filled[load.name].items()
                ],
                note=f"The bare process: {bare[load.name]:.1f} s.",
            )
            for load in LOADS
        ],
        plots=[
            Plot(
                file="partitions_per_run.svg",
                title=f"{SONGS:,} songs, two runs at once",
                x_label="partitions a run",
                y_label="seconds",
                series={
                    name: [(cell[0], cells[cell].filled) for cell in two_at_once]
                    for name, cells in filled.items()
                },
                log_x=True,
            )
        ],
        data={
            "songs": SONGS,
            "bare": bare,
            "filled": {
                name: [
                    {"partitions_per_run": cell[0], "runs_at_once": cell[1], **asdict(of)}
                    for cell, of in cells.items()
                ]
                for name, cells in filled.items()
            },
        },
    )


def _bare(load: Load) -> float:
    with environment(SONGS) as made:
        made.endpoint.control(**load.control)
        seconds = fill_in_a_bare_process(made)
    print(f"  {load.name}, bare process: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _filled(load: Load, cell: tuple[int, int]) -> Backfilled:
    partitions, at_once = cell
    with environment(SONGS) as made:
        made.endpoint.control(**load.control)
        filled = fill_with_dagster(made, partitions_per_run=partitions, concurrent_runs=at_once)
    print(f"  {load.name}, {partitions} a run, {at_once} at once: {filled}", file=sys.stderr, flush=True)
    return filled

"""Dagster's share: the whole catalogue as a backfill run by the daemon, against one bare process."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.dagster_backfill import Backfilled, fill_in_a_bare_process, fill_with_dagster
from benchmarks.environment import environment, real_songs
from benchmarks.result import Result, Table


@dataclass(frozen=True, slots=True)
class Load:
    """What the endpoint does, by route and field of Control; target: Dagster's share of the time at most."""

    name: str
    control: dict[str, dict[str, Any]]
    target: float


LOADS = (
    Load(
        "5,000 requests per minute",
        {
            "chat": {"latency_median": 4.0, "latency_sigma": 0.5, "limits": {"requests_per_minute": 5000}},
            "embeddings": {"latency_median": 0.25, "latency_sigma": 0.5},
        },
        target=0.10,
    ),
    Load("no limit, no latency", {}, target=0.25),
)
"""Issue 4; latencies in seconds."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Seconds of the same catalogue under the same load."""

    load: Load
    bare: float
    dagster: Backfilled

    @property
    def share(self) -> float:
        """Of the time from when the daemon saw the backfill that the bare process does not need."""
        return 1 - self.bare / self.dagster.filled

    @property
    def share_with_wait(self) -> float:
        """The same from the launch."""
        return 1 - self.bare / (self.dagster.waited + self.dagster.filled)


def run() -> Result:
    """Fill the catalogue twice under each load."""
    songs = len(real_songs())
    compared = [compare(load, songs) for load in LOADS]
    missed = [one.load.name for one in compared if one.share > one.load.target]
    return Result(
        name="dagster_share",
        title="Dagster's share",
        summary=(
            f"All {songs:,} songs as a backfill that Dagster's daemon runs (dagster.yaml and workspace.yaml "
            "as they are), against one process that fills the same ranges without Dagster; the same "
            "endpoint, a new catalogue and new databases each time. The time is that until every song has "
            "its row. The daemon looks for backfills every 30 s, whatever their size; so the share is of the "
            "time from when it saw the backfill, and stands beside that from the launch. "
            + " ".join(
                f"{one.load.name}: **{one.share:.1%}**, target {one.load.target:.0%}." for one in compared
            )
            + (f" Missed with {', '.join(missed)}." if missed else " Both are met.")
        ),
        tables=[
            Table(
                title="Seconds until every song has its row",
                columns=[
                    "load",
                    "bare process",
                    "Dagster, from when the daemon saw it",
                    "Dagster's share",
                    "from the launch",
                    "its share",
                    "until the last run ended",
                    "runs",
                ],
                rows=[
                    [
                        one.load.name,
                        one.bare,
                        one.dagster.filled,
                        f"{one.share:.1%}",
                        one.dagster.waited + one.dagster.filled,
                        f"{one.share_with_wait:.1%}",
                        one.dagster.ended,
                        one.dagster.runs,
                    ]
                    for one in compared
                ],
                note="After the last row Dagster holds the checks once more.",
            )
        ],
        data={"songs": songs, "compared": [asdict(one) for one in compared]},
    )


def compare(load: Load, songs: int) -> Compared:
    """Fill a catalogue of so many songs twice."""
    with environment(songs) as made:
        made.endpoint.control(**load.control)
        bare = fill_in_a_bare_process(made)
    _say(f"{load.name}: bare {bare:.1f} s")
    with environment(songs) as made:
        made.endpoint.control(**load.control)
        dagster = fill_with_dagster(made)
    _say(f"{load.name}: {dagster}")
    return Compared(load, bare, dagster)


def _say(progress: str) -> None:
    print(f"  {progress}", file=sys.stderr, flush=True)

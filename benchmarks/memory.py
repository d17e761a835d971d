"""Memory: the peak of one process that fills all ranges of catalogues of 10 thousand to a million songs.

The endpoint answers at once and limits nothing, which is when most answers, texts and vectors are in hand.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from benchmarks.environment import Environment, environment
from benchmarks.result import Plot, Result, Table
from benchmarks.workers import workers

SIZES = (10_000, 100_000, 1_000_000)
"""Songs of the catalogues."""

FLAT = 0.10
"""How much more, or less, the largest catalogue may take than the one before."""

SECONDS_BETWEEN_LOOKS = 0.5

# Vectors of 1,536 numbers are received and inserted as ever, but Postgres keeps zeros, compressed: those of
# a million songs would take 16 GB of disk.
_KEEP_ZEROS = """
set event_triggers = off;
alter table song_aboutness alter emotions_vector set storage extended;
alter table song_aboutness alter moments_vector set storage extended;
create function keep_zeros() returns trigger language plpgsql as $$
begin
    new.emotions_vector := array_fill(0, array[vector_dims(new.emotions_vector)])::vector;
    new.moments_vector := new.emotions_vector;
    return new;
end $$;
create trigger keep_zeros before insert on song_aboutness
    for each row execute function keep_zeros();
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """The process that filled a catalogue: seconds, its peak, and its memory after so many songs, in MB.

    Memory is resident memory; the peak is what the kernel kept (VmHWM of proc(5)), not what looks happened
    to see.
    """

    seconds: float
    peak_mb: float
    mb_after_songs: list[tuple[float, float]]


def run() -> Result:
    """Fill the catalogues one after the other, each with a process of its own."""
    with environment() as made:
        with psycopg.connect(made.admin_url) as admin:
            admin.execute(_KEEP_ZEROS)
        return _result({songs: fill(made, songs) for songs in SIZES})


def fill(made: Environment, songs: int) -> Filled:
    """Fill a new catalogue of so many songs and watch the process that does."""
    made.lay_catalogue(songs)
    made.empty()
    made.endpoint.clear_stats()
    began = time.monotonic()
    looks: list[tuple[float, float]] = []
    with workers(made, 1) as [worker]:
        peak_mb = 0.0
        while worker.poll() is None:
            resident_mb, peak_mb = _memory_mb(worker) or (0.0, peak_mb)
            if resident_mb:
                looks.append((made.endpoint.stats()["chat"]["items_answered"], resident_mb))
            time.sleep(SECONDS_BETWEEN_LOOKS)
        seconds = time.monotonic() - began
        assert worker.returncode == 0, "The run failed; see what it wrote above."
    with psycopg.connect(made.admin_url) as admin:
        rows = admin.execute("select count(*) from song_aboutness").fetchone()
    assert rows == (songs,), f"{rows} rows of {songs:,} songs"
    print(f"  {songs:,} songs: {peak_mb:.0f} MB, {seconds:.0f} s", file=sys.stderr, flush=True)
    return Filled(seconds, peak_mb, looks)


def _memory_mb(process: subprocess.Popen[bytes]) -> tuple[float, float] | None:
    """Resident memory now and at its peak; None when the process has ended."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in status.splitlines())
        if name in ("VmRSS", "VmHWM")
    }
    return (kilobytes["VmRSS"] / 1024, kilobytes["VmHWM"] / 1024) if kilobytes else None


def _result(filled: dict[int, Filled]) -> Result:
    *_, before, largest = SIZES
    growth = filled[largest].peak_mb / filled[before].peak_mb - 1
    return Result(
        name="memory",
        title="Memory of a process",
        summary=(
            "Peak resident memory of one process that fills all ranges, without Dagster: every song of the "
            "catalogue is generated, embedded (1,536 numbers a vector) and inserted. The endpoint answers at "
            "once and limits nothing. Postgres keeps zeros instead of the vectors that it is given, to save "
            "disk. Target: "
            f"a million songs within {FLAT:.0%} of 100,000. "
            f"From {before:,} to {largest:,} it is **{growth:+.1%}**."
        ),
        tables=[
            Table(
                title="Peak resident memory",
                columns=["songs", "MB", "songs/s"],
                rows=[[f"{songs:,}", of.peak_mb, songs / of.seconds] for songs, of in filled.items()],
            )
        ],
        plots=[
            Plot(
                file="memory.svg",
                title="Resident memory of one process",
                x_label="songs answered",
                y_label="MB",
                series={f"{songs:,} songs": of.mb_after_songs for songs, of in filled.items()},
            )
        ],
        data={"growth": growth, "filled": {str(songs): asdict(of) for songs, of in filled.items()}},
    )

"""Measures one cell: its own environment, worker processes, and what the endpoint let pass."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from aboutness_assets.limits.slots import MAX_IN_FLIGHT
from benchmarks.environment import Environment, environment
from benchmarks.limit_use.cells import LEARNING_SECONDS, PACK_SIZE, WINDOW_SECONDS, Cell
from benchmarks.workers import cpu_seconds, machine_cpu_seconds, workers

MIN_USE, MAX_RATE_LIMITED = 0.97, 0.005


@dataclass(frozen=True, slots=True)
class Share:
    """What came of a span of time.

    use: songs / 10 (or tokens, where they bind) that were let pass, over what the limit allows in that time;
    what a bucket held at its beginning and no longer at its end counts as allowed. rate_limited: share of
    429s. in_flight: chat requests, mean. worker_cpu, endpoint_cpu, machine_cpu: cores that were busy.
    """

    seconds: float
    use: float
    rate_limited: float
    rate_limited_embeddings: float
    songs_per_second: float
    rows_per_second: float
    in_flight: float
    worker_cpu: float
    endpoint_cpu: float
    machine_cpu: float


@dataclass(frozen=True, slots=True)
class Phase:
    """Of one cell; whole: learning included."""

    cell: Cell
    limit_factor: float
    window: Share
    whole: Share

    @property
    def name(self) -> str:
        """Of the cell, and of the phase where it is not the first."""
        return f"{self.cell.name} × {self.limit_factor:g}" if self.limit_factor != 1 else self.cell.name

    @property
    def met(self) -> bool:
        """Whether the target is."""
        return self.window.use >= MIN_USE and self.window.rate_limited < MAX_RATE_LIMITED

    @property
    def bound_by(self) -> str:
        """What else than the limit kept it from more."""
        if self.window.use >= MIN_USE:
            return "limit"
        if self.window.machine_cpu >= 0.93 * (os.cpu_count() or 1):
            return "CPU"
        if self.window.in_flight >= 0.95 * MAX_IN_FLIGHT * self.cell.processes:
            return "in flight"
        return "pace"


@dataclass(frozen=True, slots=True)
class _Moment:
    at: float
    chat: dict[str, Any]
    embeddings: dict[str, Any]
    rows: int
    worker_cpu: float
    endpoint_cpu: float
    machine_cpu: float


class _Measurement:
    """One cell in its own environment."""

    def __init__(self, cell: Cell, made: Environment, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._cell = cell
        self._environment = made
        self._processes = processes
        self._in_flight: list[tuple[float, int]] = []

    def phases(self) -> Iterator[Phase]:
        """Measure one phase after the other."""
        while not self._environment.endpoint.stats()["chat"]["answered"]:
            self._sleep(0.1)
        for factor in self._cell.limit_factors:
            self._environment.endpoint.control(**self._cell.control(factor))
            began = self._moment()
            self._sleep(LEARNING_SECONDS[self._cell.headers])
            learnt = self._moment()
            self._sleep(WINDOW_SECONDS[self._cell.headers])
            ended = self._moment()
            yield Phase(
                self._cell, factor, self._share(factor, learnt, ended), self._share(factor, began, ended)
            )

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            in_flight = self._environment.endpoint.stats()["chat"]["in_flight"]
            self._in_flight.append((time.monotonic(), in_flight))
            if any(process.poll() is not None for process in self._processes):
                raise RuntimeError(f"{self._cell.name}: a worker ended before the measurement did.")

    def _moment(self) -> _Moment:
        stats = self._environment.endpoint.stats()
        with psycopg.connect(self._environment.admin_url) as admin:
            row = admin.execute("select count(*) from song_aboutness").fetchone()
        return _Moment(
            at=time.monotonic(),
            chat=stats["chat"],
            embeddings=stats["embeddings"],
            rows=row[0] if row else 0,
            worker_cpu=sum(cpu_seconds(process.pid) for process in self._processes),
            endpoint_cpu=cpu_seconds(self._environment.endpoint.pid),
            machine_cpu=machine_cpu_seconds(),
        )

    def _share(self, factor: float, first: _Moment, last: _Moment) -> Share:
        seconds = last.chat["seconds"] - first.chat["seconds"]
        chat, embeddings = (
            {
                name: after[name] - before[name]
                for name in ("requests", "rate_limited", "items_answered", "tokens_answered")
            }
            for before, after in ((first.chat, last.chat), (first.embeddings, last.embeddings))
        )
        own = factor * (1 - self._cell.other_users_share)
        uses = []
        for name, limit, used in (
            ("requests", self._cell.requests_per_minute, chat["items_answered"] / PACK_SIZE),
            ("tokens", self._cell.tokens_per_minute, chat["tokens_answered"]),
        ):
            if limit:
                drained = 0.0
                if self._cell.algorithm == "bucket":
                    drained = max(0.0, first.chat["remaining"][name] - last.chat["remaining"][name])
                uses.append(used / (limit * own / 60 * seconds + drained))
        in_flight = [number for at, number in self._in_flight if first.at <= at <= last.at]
        return Share(
            seconds=seconds,
            use=max(uses),
            rate_limited=chat["rate_limited"] / max(1, chat["requests"]),
            rate_limited_embeddings=embeddings["rate_limited"] / max(1, embeddings["requests"]),
            songs_per_second=chat["items_answered"] / seconds,
            rows_per_second=(last.rows - first.rows) / (last.at - first.at),
            in_flight=sum(in_flight) / len(in_flight),
            worker_cpu=(last.worker_cpu - first.worker_cpu) / (last.at - first.at),
            endpoint_cpu=(last.endpoint_cpu - first.endpoint_cpu) / (last.at - first.at),
            machine_cpu=(last.machine_cpu - first.machine_cpu) / (last.at - first.at),
        )


@dataclass(frozen=True, slots=True)
class MeasuredCell:
    """A cell's phases, and its chat requests answered in each second since the first."""

    phases: list[Phase]
    answered_by_second: list[int]


def measure(cell: Cell) -> MeasuredCell:
    """Measure one cell in a Postgres, with an endpoint and with worker processes of its own."""
    with environment(cell.songs) as made:
        made.endpoint.control(**cell.control(cell.limit_factors[0]))
        made.endpoint.clear_stats()
        with workers(made, cell.processes) as processes:
            phases = []
            for phase in _Measurement(cell, made, processes).phases():
                phases.append(phase)
                window = phase.window
                print(
                    f"  {phase.name}: use {window.use:.1%} ({phase.whole.use:.1%} with learning), "
                    f"429s {window.rate_limited:.2%} ({phase.whole.rate_limited:.2%}), "
                    f"{window.songs_per_second:.0f} songs/s, {window.rows_per_second:.0f} rows/s, "
                    f"{window.in_flight:.0f} in flight, cores: workers {window.worker_cpu:.2f}, "
                    f"endpoint {window.endpoint_cpu:.2f}, machine {window.machine_cpu:.2f}",
                    file=sys.stderr,
                )
            by_second = made.endpoint.stats()["chat"]["by_second"]["answered"]
    first = next(second for second, answered in enumerate(by_second) if answered)
    return MeasuredCell(phases, by_second[first:-1])

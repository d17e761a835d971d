"""How much of a limit is used from 3 to 30,000 requests per minute, in virtual time.

The throttle is the real one; the store is the one in memory, which answers as the one in Postgres does
(tests/integration/test_limit_store_conformance.py); the provider is the model of aboutness_local. Virtual
time makes minutes of waiting cheap and the figures the same on every machine.
"""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

from aboutness_assets.limits.throttle import Throttle
from benchmarks.result import Result, Table
from tests.support.memory_limit_store import MemoryLimitStore
from tests.support.simulated_provider import Provider, keep_asking
from tests.support.virtual_time import now, run_in_virtual_time

LIMITS = (3, 5, 10, 60, 500, 5_000, 30_000)
PROCESSES = 2
MANY_PROCESSES, MANY_LATENCY = 4, 1.0
"""At 30,000 per minute: 2 × 512 requests in flight of 4 s each could not use the limit."""

Says = Literal["headers", "retry-after", "nothing"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured at once. says: what the provider tells of its limit."""

    limit: int
    says: Says
    algorithm: Literal["window", "bucket"]

    @property
    def seconds(self) -> tuple[int, int]:
        """Of learning, and of the measurement after it."""
        if self.limit <= 60:
            return 300, 1200
        return (180, 300) if self.limit <= 5_000 else (120, 60)

    @property
    def target(self) -> tuple[float, float]:
        """The least use, and the share of 429s that is not reached."""
        return (0.95, 0.01) if self.says == "headers" else (0.97, 0.01)


@dataclass(frozen=True, slots=True)
class Share:
    """use: requests let pass after learning, over what the limit allows in that time; what a bucket held at
    the beginning and no longer at the end counts as allowed. refused: share of 429s. refused_in_learning: the
    same before."""

    use: float
    refused: float
    refused_in_learning: float


def run() -> Result:
    """Measure every cell, as many at once as there are cores."""
    cells = [
        Cell(limit, says, algorithm)
        for limit in reversed(LIMITS)
        for says in ("headers", "retry-after", "nothing")
        for algorithm in ("window", "bucket")
    ]
    with ProcessPoolExecutor() as pool:
        shares = dict(zip(cells, pool.map(measure, cells), strict=True))
    met = {cell: is_met(cell, share) for cell, share in shares.items()}
    return Result(
        name="limit_matrix",
        title="Limits from 3 to 30,000 requests per minute",
        summary=(
            f"In virtual time: the real throttle, {PROCESSES} processes ({MANY_PROCESSES} at 30,000), "
            f"latencies of a median of 4 s ({MANY_LATENCY:g} s at 30,000). The provider counts a sliding "
            "minute, or has a bucket of a minute's worth, full at first. Measured for 20 minutes after 5 of "
            "learning up to 60 per minute, for 5 after 3 up to 5,000, for 1 after 2 at 30,000. Target: at "
            "least 95 % used with headers, 97 % without, and less than 1 % 429s: met in "
            f"{sum(met.values())} of {len(met)} cells."
        ),
        tables=[_table(says, shares) for says in ("headers", "retry-after", "nothing")],
        data={
            f"{cell.limit}-{cell.says}-{cell.algorithm}": {**asdict(share), "met": met[cell]}
            for cell, share in shares.items()
        },
    )


def is_met(cell: Cell, share: Share) -> bool:
    """Whether the target is met."""
    use, refused = cell.target
    return share.use >= use and share.refused < refused


def measure(cell: Cell) -> Share:
    """Measure one cell."""
    return run_in_virtual_time(lambda: _measure(cell))


async def _measure(cell: Cell) -> Share:
    many = cell.limit > 5_000
    learning, window = cell.seconds
    store, began = MemoryLimitStore(clock=now), now()
    provider = Provider(
        MANY_LATENCY if many else 4.0,
        requests_per_minute=cell.limit,
        algorithm=cell.algorithm,
        headers=cell.says == "headers",
        retry_after=cell.says != "nothing",
    )
    asking = [
        asyncio.create_task(keep_asking(provider, Throttle(store, clock=now)))
        for _ in range(MANY_PROCESSES if many else PROCESSES)
    ]
    await asyncio.sleep(learning)
    held = provider.remaining_requests()
    await asyncio.sleep(window)
    drained = max(0.0, held - provider.remaining_requests()) if cell.algorithm == "bucket" else 0.0
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    learnt = began + learning
    return Share(
        provider.rate(learnt, learnt + window) * window / (cell.limit / 60 * window + drained),
        provider.share_refused(learnt, learnt + window),
        provider.share_refused(began, learnt),
    )


def _table(says: Says, shares: dict[Cell, Share]) -> Table:
    titles = {
        "headers": "Limits stated in headers",
        "retry-after": "No headers; a 429 names a time",
        "nothing": "No headers; a 429 names no time",
    }
    rows: list[list[str | float | int]] = []
    for limit in LIMITS:
        row: list[str | float | int] = [limit]
        for algorithm in ("window", "bucket"):
            share = shares[Cell(limit, says, algorithm)]
            row += [100 * share.use, 100 * share.refused, 100 * share.refused_in_learning]
        rows.append(row)
    measured = ("use %", "429s %", "429s % in learning")
    columns = [f"{algorithm}: {name}" for algorithm in ("sliding minute", "bucket") for name in measured]
    return Table(titles[says], ["requests per minute", *columns], rows)

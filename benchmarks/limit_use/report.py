"""From measured cells to the section of the page."""

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.limit_use.cells import LEARNING_SECONDS, WINDOW_SECONDS
from benchmarks.limit_use.measure import MAX_RATE_LIMITED, MIN_USE, MeasuredCell, Phase
from benchmarks.result import Plot, Result, Table


def result(measured: dict[str, MeasuredCell]) -> Result:
    """The report of all cells."""
    phases = [phase for of_cell in measured.values() for phase in of_cell.phases]
    return Result(
        name="limit_use",
        title="Limit use",
        summary=_summary(phases),
        tables=[
            _table("Limits stated in headers", [phase for phase in phases if phase.cell.headers]),
            _table("Neither headers nor settings", [phase for phase in phases if not phase.cell.headers]),
        ],
        plots=[
            Plot(
                file="limit_use.svg",
                title="5,000 requests per minute, 2 processes",
                x_label="seconds since the first request",
                y_label="requests let pass, % of the limit at first (5 s mean)",
                series={
                    legend: _percent_by_second(measured[name])
                    for legend, name in (
                        ("headers", "5000-2-headers"),
                        ("headers, limit halved", "5000-2-headers-halved"),
                        ("headers, another user takes 40 %", "5000-2-headers-shared"),
                        ("no headers", "5000-2-absent"),
                    )
                },
            )
        ],
        data={
            phase.name: {**asdict(phase), "met": phase.met, "bound_by": phase.bound_by} for phase in phases
        },
    )


def _summary(phases: Sequence[Phase]) -> str:
    missed = [
        f"{phase.name} ({phase.window.use:.1%} used, {phase.window.rate_limited:.2%} 429s, "
        f"bound by {phase.bound_by})"
        for phase in phases
        if not phase.met
    ]
    return (
        "What the endpoint let pass, divided by what its limit allows (requests per minute × 10 songs, or "
        f"tokens), in a window of {WINDOW_SECONDS[True]} s after {LEARNING_SECONDS[True]} s "
        f"of learning where it states the limits in headers, of {WINDOW_SECONDS[False]} s after "
        f"{LEARNING_SECONDS[False]} s where it does not and no setting "
        "does either. Latencies are lognormal: median 4 s chat, 0.25 s embedding, sigma "
        "0.5. The endpoint's bucket holds a minute's worth; it starts at a tenth of that with headers, so "
        "that sending too much shows, and full without. What was drained from it in the window counts as "
        "allowed. "
        f"Target: at least {MIN_USE:.0%} used and less than "
        f"{MAX_RATE_LIMITED:.1%} 429s: met in {len(phases) - len(missed)} of {len(phases)} cells"
        + (f"; not in {', '.join(missed)}." if missed else ".")
    )


def _table(title: str, phases: Sequence[Phase]) -> Table:
    return Table(
        title=title,
        columns=[
            *(
                "cell",
                "processes",
                "use %",
                "with learning %",
                "429s %",
                "with learning %",
                "songs/s",
                "rows/s",
            ),
            *("in flight", "worker cores", "endpoint cores", "cores busy", "bound by"),
        ],
        rows=[
            [
                phase.name,
                phase.cell.processes,
                100 * phase.window.use,
                100 * phase.whole.use,
                100 * phase.window.rate_limited,
                100 * phase.whole.rate_limited,
                phase.window.songs_per_second,
                phase.window.rows_per_second,
                phase.window.in_flight,
                phase.window.worker_cpu,
                phase.window.endpoint_cpu,
                phase.window.machine_cpu,
                phase.bound_by,
            ]
            for phase in phases
        ],
        note="A cell is limit-processes-headers; the machine's busy cores include Postgres and the endpoint. "
        "The cells of 500 ran side by side.",
    )


def _percent_by_second(cell: MeasuredCell) -> list[tuple[float, float]]:
    allowed = cell.phases[0].cell.requests_per_minute / 60
    answered = cell.answered_by_second
    return [
        (float(second), 100 * sum(answered[second - 5 : second]) / 5 / allowed)
        for second in range(5, len(answered) + 1)
    ]

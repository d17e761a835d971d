"""What a benchmark hands back: prose, tables, plots, and everything measured."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the Markdown page; numbers are printed with three significant digits."""

    title: str
    columns: list[str]
    rows: list[list[str | float | int]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """A line plot; file is its name beside the page (``*.svg``), series are points (x, y) by legend."""

    file: str
    title: str
    x_label: str
    y_label: str
    series: dict[str, list[tuple[float, float]]]
    log_x: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark.

    name: of its module. summary: what was measured and how, the target, and whether it is met. data:
    everything measured, for the JSON.
    """

    name: str
    title: str
    summary: str
    tables: list[Table]
    plots: list[Plot] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

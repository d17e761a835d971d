"""How much of the provider's limit is used, by how many processes, with headers and without."""

from concurrent.futures import ThreadPoolExecutor

from benchmarks.limit_use.cells import cells
from benchmarks.limit_use.measure import MeasuredCell, measure
from benchmarks.limit_use.report import result
from benchmarks.result import Result

SMALL = 500
"""Cells of so many requests a minute leave enough CPU to be measured side by side."""


def run() -> Result:
    """Measure every cell; the small ones side by side, those with headers and those without apart."""
    measured: dict[str, MeasuredCell] = {}
    for headers in (True, False):
        of_kind = [cell for cell in cells() if cell.headers is headers]
        small = [cell for cell in of_kind if cell.requests_per_minute <= SMALL]
        with ThreadPoolExecutor(len(small)) as threads:
            measured |= zip((cell.name for cell in small), threads.map(measure, small), strict=True)
        measured |= {cell.name: measure(cell) for cell in of_kind if cell.requests_per_minute > SMALL}
    return result(measured)

"""How much of the provider's limit is used, by how many processes, with headers and without."""

from concurrent.futures import ThreadPoolExecutor

from benchmarks.limit_use.cells import cells
from benchmarks.limit_use.measure import MeasuredCell, measure
from benchmarks.limit_use.report import result
from benchmarks.result import Result

SMALL = 500
"""Cells of so many requests per minute leave enough CPU to be measured side by side."""


def run() -> Result:
    """Measure every cell; side by side the small ones, and the long ones without headers."""
    measured: dict[str, MeasuredCell] = {}
    alone = [cell for cell in cells() if cell.headers and cell.requests_per_minute > SMALL]
    measured |= {cell.name: measure(cell) for cell in alone}
    for headers in (True, False):
        together = [cell for cell in cells() if cell.headers is headers and cell not in alone]
        with ThreadPoolExecutor(len(together)) as threads:
            measured |= zip((cell.name for cell in together), threads.map(measure, together), strict=True)
    return result(measured)

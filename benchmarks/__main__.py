"""``python -m benchmarks [NAME ...]``: runs the named benchmarks, or all, and writes benchmarks/results."""

import argparse
import sys
import time
from importlib import import_module

from benchmarks.report import record
from benchmarks.result import Result

BENCHMARKS = (
    "limit_use",
    "limit_matrix",
    "old_flow",
    "cpu",
    "dagster_share",
    "memory",
    "growth",
    "vector_index",
    "partitions",
    "run_overhead",
)
"""Modules with a function ``run() -> Result``, in the order of their sections."""


def main() -> None:
    """Run, and record each as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all by default")
    names = parser.parse_args().names or BENCHMARKS
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"{name} …", file=sys.stderr)
        began = time.monotonic()
        result: Result = import_module(f"benchmarks.{name}").run()
        record(result, BENCHMARKS)
        print(f"{name} took {time.monotonic() - began:.0f} s\n{result.summary}", file=sys.stderr)


if __name__ == "__main__":
    main()

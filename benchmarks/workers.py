"""Several worker processes on disjoint ranges of one catalogue, and what CPU time they take."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.endpoint.process import PROJECT
from benchmarks.environment import Environment

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def workers(
    environment: Environment, number: int, **settings: object
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes, each at work on its share of the ranges; killed at the end."""
    keys = environment.range_keys()
    variables = {**os.environ, **environment.variables(**settings)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *keys[first::number]], cwd=PROJECT, env=variables
        )
        for first in range(number)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken, in seconds: fields 14 and 15 of proc(5)'s /proc/pid/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def machine_cpu_seconds() -> float:
    """CPU time that all processes of this machine have taken, in seconds, on all cores together."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_A_SECOND

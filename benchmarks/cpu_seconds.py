"""CPU of this process and of a Postgres: what stays comparable when others use the machine as well."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    """CPU seconds used so far; Linux only. postmaster: the process id of the Postgres."""

    postmaster: int

    def of_this_process(self) -> float:
        """By all threads of this process."""
        return time.process_time()

    def in_all(self) -> float:
        """By this process and Postgres. Backends that have ended are counted by the postmaster."""
        of_ended = Path(f"/proc/{self.postmaster}/stat").read_text().rpartition(") ")[2].split()[11:15]
        total = self.of_this_process() + sum(map(int, of_ended)) / os.sysconf("SC_CLK_TCK")
        children = Path(f"/proc/{self.postmaster}/task/{self.postmaster}/children").read_text()
        for child in children.split():
            with suppress(OSError):  # it has just ended
                total += int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) / 1e9
        return total

"""A backfill over several hosts, which are network namespaces of this machine, and what it survives.

Runs the commands of the units in deploy/ on a head and two workers, beside two Postgres servers and the
stand-in endpoint on hosts of their own. usage: python -m tools.hosts [--songs N] [--no-faults]; as root.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter

from tests.support.hosts_trial import HEAD_UNITS, WORKER_UNITS, WORKERS, Trial, trial
from tests.support.network import why_no_network
from tests.support.trial_steps import begin, both_send, hold, launch, reach_the_cap, start_head, succeed

MAX_USD = 1000


def measure(trial: Trial, seconds: float) -> None:
    """How much of the shared limit is used, and how many requests meet it, while both workers send."""

    def chat() -> Counter[int]:
        asked = trial.stand_in.requests()["requests"]
        return Counter(request["status"] for request in asked if request["route"] == "chat")

    before, begun = chat(), time.monotonic()
    time.sleep(seconds)
    sent, minutes = chat() - before, (time.monotonic() - begun) / 60
    trial.tell("share of the limit used", round(sent[200] / minutes / trial.requests_per_minute, 3))
    trial.tell("share of 429s", round(sent[429] / max(sum(sent.values()), 1), 4))
    trial.tell("load of this machine", os.getloadavg()[0])


def faults(trial: Trial) -> None:
    """Everything that may fail, one after the other, while the backfill is under way."""
    first, second = WORKERS
    succeed(trial, first, f"{first} cut off from the network", lambda: trial.hosts.cut(first))
    trial.hosts.mend(first)
    succeed(trial, second, f"{second} killed", trial.machines[second].lose_power)
    trial.machines[second].start(*WORKER_UNITS)
    head = trial.machines["head"]
    head.lose_power()
    rows = trial.rows()
    trial.tell("head killed; rows", rows)
    start_head(trial)
    trial.wait(lambda: trial.rows() > rows, "rows after the head's restart")
    daemon = head.processes[1]
    daemon.kill()
    daemon.wait()
    head.start(HEAD_UNITS[1])
    trial.tell("daemon killed and restarted; rows", trial.rows())
    trial.service_server.restart("immediate")
    trial.tell("the service's Postgres restarted; rows", trial.rows())
    trial.own_server.restart("immediate")
    trial.tell("our own Postgres restarted; rows", trial.rows())


def main() -> None:
    """Run the trial; exits with 1 and the reason where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=20_000)
    parser.add_argument("--range-size", type=int, default=500)
    parser.add_argument("--ranges-per-run", type=int, default=10)
    parser.add_argument("--requests-per-minute", type=int, default=400)
    parser.add_argument("--cap", type=float, default=0.05, help="dollars at which a first backfill ends")
    parser.add_argument("--measured-seconds", type=float, default=90)
    parser.add_argument("--no-faults", action="store_true")
    arguments = parser.parse_args()
    if reason := why_no_network():
        sys.exit(f"No hosts can be made: {reason}.")
    with trial(
        arguments.songs,
        arguments.range_size,
        arguments.ranges_per_run,
        arguments.requests_per_minute,
        arguments.cap,
    ) as made:
        begin(made)
        reach_the_cap(made, arguments.cap, MAX_USD)
        backfill = launch(made)
        both_send(made)
        if arguments.measured_seconds:
            measure(made, arguments.measured_seconds)
        if not arguments.no_faults:
            faults(made)
        hold(made, backfill, MAX_USD)
        print(json.dumps(made.found))


if __name__ == "__main__":
    main()

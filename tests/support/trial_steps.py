"""What is done to hosts on which a backfill is under way, and what must hold afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from tests.support.dagster_project import DagsterDev
from tests.support.hosts_trial import HEAD_UNITS, WORKER_UNITS, WORKERS, Trial
from tests.support.machine import CODE

ENDS = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED")


def begin(trial: Trial) -> None:
    """Create the partitions, and start head and workers."""
    trial.machines["head"].run(
        str(CODE / "current/.venv/bin/dagster"),
        *("job", "execute", "-m", "aboutness_assets.definitions", "-j", "sync_song_id_ranges"),
    )
    start_workers(trial)
    start_head(trial)
    trial.tell("UI up after, s", round(_wait_for_the_ui(trial)))


def start_workers(trial: Trial) -> None:
    """As systemd does on each worker."""
    for name in WORKERS:
        trial.machines[name].start(*WORKER_UNITS)


def start_head(trial: Trial) -> None:
    """As systemd does: the daemon and the webserver once the code server answers (aboutness-code-server)."""
    head = trial.machines["head"]
    head.start(HEAD_UNITS[0])
    answers = head.command(
        str(CODE / "current/.venv/bin/dagster"), "api", "grpc-health-check", "--port", "4266"
    )
    trial.wait(
        lambda: (
            subprocess.run(answers, env=head.environment, check=False, capture_output=True).returncode == 0
        ),
        "the head's code server",
    )
    head.start(*HEAD_UNITS[1:])


def launch(trial: Trial) -> str:
    """Launch a backfill over all partitions in the UI; its id."""
    return str(_on_head(trial, lambda dev: dev.launch_backfill(trial.project.ranges())))


def _wait_for_the_ui(trial: Trial) -> float:
    return trial.wait(lambda: _on_head(trial, lambda dev: dev.is_up()), "the UI")


def _on_head(trial: Trial, work: Callable[[DagsterDev], Any]) -> Any:
    with trial.hosts["head"].entered():
        return work(DagsterDev(trial.project, "http://127.0.0.1:3000"))


def both_send(trial: Trial) -> None:
    """Wait until runs on both workers have sent requests."""
    trial.wait(lambda: all(trial.sent(trial.runs_on(name)) for name in WORKERS), "both workers")
    trial.tell("both workers send; rows", trial.rows())


def reach_the_cap(trial: Trial, cap: float, max_usd: float) -> None:
    """Let a backfill end at the cap it was begun with; then raise it, as its owner does on each host."""
    status = ends(trial, launch(trial))
    assert status == "COMPLETED_FAILED", status
    billed, spent, uncertain, reserved = _dollars(trial)
    trial.tell("a backfill ended at the cap; rows", trial.rows())
    trial.tell("billed, spent, uncertain, reserved, $", [billed, spent, uncertain, reserved])
    assert billed <= cap and spent + uncertain <= cap and reserved < 1e-9
    for machine in trial.machines.values():
        machine.lose_power()
        machine.environment["ABOUTNESS_MAX_USD"] = str(max_usd)
    start_workers(trial)
    start_head(trial)
    _wait_for_the_ui(trial)


def ends(trial: Trial, backfill: str) -> str:
    """Wait until a backfill has ended; its status."""

    def status() -> str:
        with trial.project.instance() as instance:
            found = instance.get_backfill(backfill)
        return found.status.value if found else ""

    trial.wait(lambda: status() in ENDS, "the end of the backfill")
    return status()


def succeed(trial: Trial, name: str, what: str, strike: Callable[[], None]) -> None:
    """Strike a worker, and tell after how many seconds another run sends for one of its ranges."""
    trial.wait(lambda: trial.sent(trial.runs_on(name)), f"a run on {name}")
    lost = trial.runs_on(name)
    ranges = trial.own_sql(
        "select distinct range_key from aboutness_ops.attempt where run_id in"
        f" ({', '.join(repr(run_id) for run_id in lost) or 'null'})"
    )
    strike()
    struck_at = trial.own_sql("select clock_timestamp()")[0][0]
    keys = ", ".join(f"'{key}'" for (key,) in ranges) or "null"
    others = ", ".join(f"'{run_id}'" for run_id in lost) or "null"
    took = trial.wait(
        lambda: trial.own_sql(
            f"select from aboutness_ops.attempt where range_key in ({keys}) and run_id not in ({others})"
            f" and sent_at > '{struck_at}' limit 1"
        ),
        f"a successor of {name}",
    )
    trial.tell(f"{what}: its ranges are another's and go on after, s", round(took))
    trial.tell("of it, s", trial.stages(lost, struck_at.timestamp()))


def hold(trial: Trial, backfill: str, max_usd: float) -> None:
    """The backfill has ended by itself; hold everything against everything."""
    status = ends(trial, backfill)
    trial.tell("backfill", status)
    trial.tell("rows", trial.rows())
    writers = dict(trial.service_sql("select host(address), count(*) from writer group by 1"))
    trial.tell("rows by worker", {name: writers.get(trial.hosts[name].address, 0) for name in WORKERS})
    # Of each range the runs, in order: none sends or writes again once another has begun.
    interleaved = trial.own_sql(
        "select range_key from (select range_key, run_id, min(sent_at) as first, max(sent_at) as last"
        " from aboutness_ops.attempt group by 1, 2) a join (select range_key as key, run_id as other,"
        " min(sent_at) as other_first from aboutness_ops.attempt group by 1, 2) b"
        " on key = range_key and other <> run_id and other_first > first and other_first <= last"
    )
    trial.tell("ranges on which two runs sent at once", len(interleaved))
    [(asked_twice,)] = trial.own_sql(
        "select count(*) from (select song from aboutness_ops.chat_request, unnest(song_ids) song"
        " where outcome = 'used' group by 1 having count(*) > 1) twice"
    )
    trial.tell("songs of which two answers were used", asked_twice)
    [(states,)] = trial.own_sql(
        "select json_object_agg(state, n) from (select state, count(*) as n from aboutness_ops.spending"
        " group by 1) s"
    )
    trial.tell("attempts", states)
    [(spent_sum, uncertain_sum)] = trial.own_sql(
        "select coalesce(sum(usd), 0)::float8,"
        " coalesce(sum(max_usd) filter (where state = 'uncertain'), 0)::float8 from aboutness_ops.spending"
    )
    billed, spent, uncertain, reserved = _dollars(trial)
    trial.tell("billed, spent, uncertain, reserved, $", [billed, spent, uncertain, reserved])
    assert status == "COMPLETED_SUCCESS"
    assert trial.found["rows"] == trial.songs
    assert min(trial.found["rows by worker"].values()) > 0
    assert not interleaved and not asked_twice
    assert "in_flight" not in states and reserved < 1e-9
    assert abs(spent - spent_sum) < 1e-9 and abs(uncertain - uncertain_sum) < 1e-9
    assert spent <= billed + 1e-9 and billed <= spent + uncertain + 1e-9 and spent + uncertain <= max_usd


def _dollars(trial: Trial) -> tuple[float, float, float, float]:
    """What the provider billed; what the budget says is spent, uncertain and reserved."""
    [(spent, uncertain, reserved)] = trial.own_sql(
        "select billed_usd::float8, uncertain_usd::float8, reserved_usd::float8 from aboutness_ops.budget"
    )
    return float(trial.stand_in.billing()["totals"]["usd"]), spent, uncertain, reserved

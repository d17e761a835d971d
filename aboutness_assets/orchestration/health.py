"""The command aboutness-health: whether an installation works now, by exit code and in one line.

Nothing is changed, no row is read and nothing is sent to the provider.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from dagster._core.workspace.load import load_workspace_process_context_from_yaml_paths
from dagster._daemon.controller import get_daemon_statuses

from aboutness_assets.domain.errors import AboutnessError
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.pipeline.session import look_at_databases
from aboutness_assets.settings import load_settings

STUCK_AFTER_SECONDS = 1800
"""A run at work writes an event a minute, also while it waits for the provider; a look at all rows of a large
table writes none meanwhile."""

HEARTBEAT_SECONDS = 30
SILENT_AFTER_SECONDS = 300
"""Dagster's daemons report every half minute; the UI calls them dead after half an hour only."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the line and exit: 0 where all is well, else 1."""
    parser = argparse.ArgumentParser(prog="aboutness-health", description=__doc__)
    parser.add_argument("-w", "--workspace", type=Path, help="workspace.yaml whose code locations must load")
    parser.add_argument(
        "--idle", action="store_true", help="ask this alone: is no run in progress? 0 if so, else 1"
    )
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # one line, whatever libraries have to say
    warnings.simplefilter("ignore")
    well, ill = idle() if given.idle else look(given.workspace)
    sys.stdout.write(f"NOT OK: {'; '.join(ill)}\n" if ill else f"ok: {', '.join(well)}\n")
    sys.stdout.flush()
    sys.exit(1 if ill else 0)


def look(workspace: Path | None = None) -> tuple[list[str], list[str]]:
    """What is well, and what is not.

    workspace: the file whose code locations must load, on the code servers that it names; None: they are not
    looked at.
    """
    well: list[str] = []
    ill: list[str] = []
    try:
        well.append(asyncio.run(look_at_databases(load_settings())))
        with dg.DagsterInstance.get() as instance:
            for problem, fine in (_daemons(instance), _runs(instance)):
                (ill if problem else well).append(problem or fine)
            if workspace is not None:
                problem = _code_locations(instance, workspace)
                (ill if problem else well).append(problem or "the code locations load")
    except Exception as error:
        ill.append(_why(error))
    return well, ill


def idle() -> tuple[list[str], list[str]]:
    """Whether no run is in progress; runs that are queued are not."""
    try:
        with dg.DagsterInstance.get() as instance:
            count = instance.get_runs_count(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES)))
    except Exception as error:
        return [], [_why(error)]
    return ([], [f"{count} runs are in progress"]) if count else (["no run is in progress"], [])


def _why(error: Exception) -> str:
    if isinstance(error, AboutnessError):
        return str(error)
    if not os.environ.get("DAGSTER_HOME"):
        return "DAGSTER_HOME is not set: set it to the absolute path of the directory with dagster.yaml"
    return printable_line(f"{type(error).__name__}: {error}")


def _daemons(instance: dg.DagsterInstance) -> tuple[str, str]:
    """Which daemons do not do their work, '' for none; and what to say of them otherwise."""
    statuses = get_daemon_statuses(
        instance,
        instance.get_required_daemon_types(),
        ignore_errors=True,
        heartbeat_interval_seconds=HEARTBEAT_SECONDS,
        heartbeat_tolerance_seconds=SILENT_AFTER_SECONDS - HEARTBEAT_SECONDS,
    )
    silent = sorted(name for name, status in statuses.items() if not status.healthy)
    problem = f"no heartbeat for {SILENT_AFTER_SECONDS} s from Dagster's daemons {', '.join(silent)}"
    beats = [status.last_heartbeat.timestamp for status in statuses.values() if status.last_heartbeat]
    age = time.time() - min(beats, default=0)
    return (problem if silent else ""), f"the daemons' oldest heartbeat is {max(age, 0):.0f} s old"


def _runs(instance: dg.DagsterInstance) -> tuple[str, str]:
    """Which runs in progress have been silent for too long, '' for none; and how many are in progress."""
    stuck = []
    records = instance.get_run_records(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES)))
    for record in records:
        run_id = record.dagster_run.run_id
        last = instance.get_records_for_run(run_id, limit=1, ascending=False).records
        silent_for = time.time() - (last[0].timestamp if last else record.create_timestamp.timestamp())
        if silent_for > STUCK_AFTER_SECONDS:
            stuck.append(f"{run_id} ({silent_for / 60:.0f} min)")
    problem = f"runs in progress without any event: {', '.join(stuck)}" if stuck else ""
    return problem, f"{len(records)} runs in progress"


def _code_locations(instance: dg.DagsterInstance, workspace: Path) -> str:
    """Why a code location of the file does not load; '' where all do."""
    if not workspace.is_file():
        return f"there is no file {workspace}"
    with load_workspace_process_context_from_yaml_paths(instance, [str(workspace)]) as context:
        entries = context.create_request_context().get_code_location_entries()
        broken = {name: entry.load_error for name, entry in entries.items() if entry.load_error}
    return "; ".join(
        printable_line(f"the code location {name} does not load: {error.message.strip().splitlines()[0]}")
        for name, error in broken.items()
    )

"""The last line of a run: what it did, spent and left, however it ended."""

from aboutness_assets.database.operations.run_progress import Outcome
from aboutness_assets.pipeline.progress import RunFigures
from aboutness_assets.pipeline.report import counted, dollars

_ENDS: dict[Outcome, str] = {
    "done": "The run is done",
    "failed": "The run failed",
    "canceled": "The run was canceled",
}


def last_line(run: RunFigures, outcome: Outcome) -> str:
    """One line for the log, before whatever Dagster says of the end; dollars are those of this run alone."""
    did = [f"{run.written:,} rows written"]
    if run.ranges > 1:
        did.append(f"{run.ranges_done} of {run.ranges} ranges done")
    if run.failed:
        did.append(f"{counted(run.failed)} failed")
    if run.left is None:
        did.append("what is left is not counted")
    elif run.left or outcome != "done":
        did.append(f"{counted(run.left)} of its own left")
    spent = dollars(run.usd) if run.usd is None else f"{dollars(run.usd)} spent"
    if run.uncertain_usd:
        spent += f", up to {dollars(run.uncertain_usd)} more may have been billed"
    pretend = " (pretend price)" if run.is_pretend else ""
    kept = "" if outcome == "done" else " What is paid for is kept: launch it again, and it continues."
    return f"{_ENDS[outcome]}: {', '.join(did)}; {spent}{pretend}.{kept}"

"""Runs that are killed at chosen moments, each a fork of one process, and the accounts afterwards.

Run as a program, this is that process: it has imported everything and forks a run for each command.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from aboutness_assets.database.operations.connection import open_operations
from aboutness_assets.domain.errors import AboutnessError
from aboutness_assets.pipeline.tuning import DEFAULT_TUNING, Tuning
from aboutness_assets.settings import Settings, load_settings
from tests.support.backfills import (
    DEADLINE_SECONDS,
    LOG,
    ONE_OLD_STYLE_ROW,
    Backfills,
    CatalogueRow,
    fill_one,
    sample_songs,
    wait_until,
)
from tests.support.money import ROUNDING_USD
from tests.support.network import Host
from tests.support.oracle import Oracle, broken_rows

ROOT = Path(__file__).parents[2]

BUDGET = "backfill"
"""Every run of a campaign spends on this account."""

PRICED = {
    "chat_model": "gpt-6-luna",
    "embedding_model": "text-embedding-3-small",
    "max_usd": 1000,
    "budget": BUDGET,
    "pack_size": 5,
    "max_in_flight": 4,
    "quarantine_after": 1_000,
}
"""Settings of every run: models with a price and a cap, so that the spending is booked; small packs."""

OLD_STYLE = 90_001
"""song_id of the old-style row of every campaign."""

NOTHING_KNOWN = 90_002
"""song_id of a song without title and artist: it fails, and is not asked for."""


_run_numbers = count(1)


@dataclass
class KilledRun:
    """A run in a process of its own."""

    pid: int
    run_id: str
    _forks: Forks
    _outcome: Path

    def kill(self) -> None:
        """SIGKILL, and wait for the end; a run that has ended already stays ended."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def has_ended(self) -> bool:
        """Whether only its zombie is left."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def wait(self) -> bool:
        """Wait for the end; whether it ended by itself."""
        return self._forks.wait(self.pid) == 0

    def finish(self) -> dict[str, Any]:
        """Wait for its success, which gives the numbers of its report."""
        ended_by_itself = self.wait()
        outcome = self.outcome()
        assert ended_by_itself and "report" in outcome, outcome
        report: dict[str, Any] = outcome["report"]
        return report

    def outcome(self) -> dict[str, Any]:
        """As outcome_of gives it; empty when it was killed."""
        told = self._outcome.read_text() if self._outcome.exists() else ""
        outcome: dict[str, Any] = json.loads(told) if told else {}
        return outcome


class Forks:
    """The process from which runs are forked: a run then starts in milliseconds instead of a second."""

    def __init__(self, directory: Path, host: Host | None = None) -> None:
        """host: where the runs are; None: on this one."""
        self._directory = directory
        self._runs = 0
        command = (sys.executable, "-m", "tests.support.kills")
        self._process = subprocess.Popen(
            host.command(*command) if host else command,
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, backfills: Backfills, **overrides: Any) -> KilledRun:
        """Start a run over the range."""
        self._runs += 1
        run_id, outcome = f"{self._directory.name}: run {self._runs}", self._directory / f"{self._runs}.json"
        settings = _as_given(backfills.settings(**{**PRICED, **overrides}))
        pid = self._tell(
            settings=settings, range_key=backfills.range_key, run_id=run_id, outcome=str(outcome)
        )
        return KilledRun(pid, run_id, self, outcome)

    def wait(self, pid: int) -> int:
        """The exit code of a run."""
        return self._tell(wait=pid)

    def end(self) -> None:
        """End the process."""
        self._process.communicate()

    def _tell(self, **command: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command, default=str) + "\n")
        return int(self._process.stdout.readline())


def _as_given(settings: Settings) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in settings
    }


@dataclass
class Accounts:
    """What the journal and the endpoint's record say after a campaign."""

    kills: int
    answers_received: int
    used: int
    """By the run that received them."""
    replayed: int
    """Used by a later run, or settled by it because their rows were there."""
    uncertain: int
    asked_twice: int
    """Songs asked for more often than their uncertain requests explain."""
    billed_usd: float
    """By the endpoint, which bills what it finishes, listened to or not."""
    spent_usd: float
    uncertain_usd: float


@dataclass
class Campaign:
    """One service whose runs are killed again and again."""

    backfills: Backfills
    forks: Forks
    catalogue: Iterator[CatalogueRow]
    songs: list[CatalogueRow] = field(default_factory=list)
    old_style: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    ended_early: dict[str, datetime] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many runs were killed; the others that ended early stopped by themselves, with a sentence."""
        return len(self.ended_early) - len(self.faults)

    @classmethod
    async def begin(cls, backfills: Backfills, forks: Forks, songs: int) -> Campaign:
        """Lay our schema, an old-style row and a song of which nothing is known."""
        async with open_operations(backfills.service.ops_url):
            pass
        campaign = cls(backfills, forks, iter(sample_songs(2_300)))
        backfills.arrange("insert into songs values (%s, 'Old Song', 'Singer')", [OLD_STYLE])
        backfills.arrange("insert into songs values (%s, '', null)", [NOTHING_KNOWN])
        backfills.arrange(ONE_OLD_STYLE_ROW, [OLD_STYLE, "Old. [confidence: high]"])
        campaign.add_songs(songs)
        campaign.old_style.update(backfills.rows())
        return campaign

    def add_songs(self, number: int) -> None:
        """Let the catalogue grow."""
        new = [next(self.catalogue) for _ in range(number)]
        self.songs += new
        self.backfills.arrange(
            "insert into songs select * from unnest(%s::int[], %s::text[], %s::text[])",
            [list(column) for column in zip(*new, strict=True)],
        )

    def start(self, **overrides: Any) -> KilledRun:
        """Start a run."""
        return self.forks.start(self.backfills, **overrides)

    def kill(self, run: KilledRun) -> None:
        """Kill a run, or find that it has just finished."""
        run.kill()
        self.note_end(run.run_id, run.outcome())
        self.hold_the_bill()

    async def attempt(self, **overrides: Any) -> tuple[str, dict[str, Any]]:
        """One run in this process, to be noted: its run id and its outcome."""
        run_id = f"run {next(_run_numbers)}"
        settings = self.backfills.settings(**{**PRICED, **overrides})
        return run_id, await outcome_of(settings, self.backfills.range_key, run_id, self.backfills.tuning)

    def note_end(self, run_id: str, outcome: dict[str, Any]) -> None:
        """Remember what a run reported, or when and with which sentence it ended early."""
        if "report" in outcome:
            self.reports.append(outcome["report"])
            return
        assert "error" not in outcome, outcome["error"]
        self.faults += outcome.values()
        [(self.ended_early[run_id],)] = self.backfills.journal("select clock_timestamp()")

    def wait_until_nobody_is_connected(self) -> None:
        """Return when Postgres has noticed the death of every run."""
        for url in (self.backfills.service.admin_url, self.backfills.service.ops_url):
            with psycopg.connect(url, autocommit=True) as connection:
                wait_until(lambda connection=connection: _sessions_of_runs(connection) == 0)  # type: ignore[misc]

    def finish(self) -> Accounts:
        """One more run, which must end well; then hold everything against everything."""
        self.wait_until_nobody_is_connected()
        [(in_flight,)] = self.backfills.journal(
            "select count(*) from aboutness_ops.chat_request where answered_at is null and settled_at is null"
        )
        run = self.start()
        run.finish()
        self.note_end(run.run_id, run.outcome())
        assert self._orphaned_by(run.run_id) == in_flight
        self._hold_the_ledger()
        self._hold_the_reports()
        self._hold_the_table()
        return self._balance()

    def _hold_the_table(self) -> None:
        oracle = Oracle(self.songs)
        rows, texts = self.backfills.rows(), self.backfills.texts()
        assert {song_id: rows[song_id] for song_id in self.old_style} == self.old_style
        own = {song_id: text for song_id, text in texts.items() if song_id in oracle.sent}
        assert rows.keys() == own.keys() | self.old_style.keys()
        assert oracle.without_a_row(own) == set()
        assert oracle.without_own_texts(own) == set()
        assert broken_rows(self.backfills, own) == set()
        assert self.backfills.journal("select song_id, cause from aboutness_ops.failed_song") == [
            (str(NOTHING_KNOWN), "nothing_known")
        ]

    def _orphaned_by(self, run_id: str) -> int:
        """How many chat requests of dead runs this run found."""
        [(orphaned,)] = self.backfills.journal(
            f"select count(*) from aboutness_ops.attempt where kind = 'chat' and orphaned_by = '{run_id}'"
        )
        return int(orphaned)

    def _hold_the_ledger(self) -> None:
        """Nothing is in flight or reserved, and the budget's sums are those over its attempts."""
        [(billed, uncertain, reserved)] = self.backfills.journal(
            "select billed_usd, uncertain_usd, reserved_usd from aboutness_ops.budget"
        )
        [(billed_sum, uncertain_sum, in_flight)] = self.backfills.journal(
            "select coalesce(sum(usd), 0), coalesce(sum(max_usd) filter (where state = 'uncertain'), 0),"
            " count(*) filter (where state = 'in_flight') from aboutness_ops.spending"
        )
        assert (billed, uncertain, reserved, in_flight) == (billed_sum, uncertain_sum, 0, 0)

    def _hold_the_reports(self) -> None:
        """What finished runs reported is what they counted of the ledger, and nothing is left uncounted."""
        [(uncounted,)] = self.backfills.journal(
            "select count(*) from aboutness_ops.attempt where reported_by is null"
        )
        assert uncounted == 0
        counted = dict(
            self.backfills.journal(
                "select reported_by, coalesce(sum(usd), 0)::float8 from aboutness_ops.attempt group by 1"
            )
        )
        # A run that was killed after it had counted told nobody.
        told = sum(usd for run_id, usd in counted.items() if run_id not in self.ended_early)
        assert abs(told - sum(report["cost_usd"] for report in self.reports)) < ROUNDING_USD

    def hold_the_bill(self) -> tuple[float, float, float]:
        """At any moment: spent <= billed <= spent + uncertain + in flight; gives these, the last two added.

        The endpoint bills before its answer is booked, and an attempt is entered before it is sent.
        """
        stand_in = self.backfills.stand_in
        billed_before = float(stand_in.billing()["totals"]["usd"])
        [(spent, open_usd)] = self.backfills.journal(
            "select coalesce(sum(usd), 0)::float8,"
            " coalesce(sum(max_usd) filter (where state in ('uncertain', 'in_flight')), 0)::float8"
            " from aboutness_ops.spending"
        )
        wait_until(lambda: stand_in.billing()["in_progress"] == 0)
        billed_by_now = float(stand_in.billing()["totals"]["usd"])
        assert billed_before <= spent + open_usd + ROUNDING_USD, "more was billed than the ledger knows of"
        assert spent <= billed_by_now + ROUNDING_USD, "the ledger says spent what was not billed"
        return billed_by_now, spent, open_usd

    def _answers_received(self) -> int:
        [(answers,)] = self.backfills.journal(
            "select count(*) from aboutness_ops.chat_request"
            " where answered_at is not null and outcome <> 'uncertain'"
        )
        return int(answers)

    def _balance(self) -> Accounts:
        entries = self.backfills.journal(
            "select run_id, songs, outcome, answered_at, settled_at"
            " from aboutness_ops.chat_request order by request_id"
        )
        intended, answered, uncertain = Counter[Any](), Counter[Any](), Counter[Any]()
        used = replayed = requests_uncertain = 0
        for run_id, songs, outcome, answered_at, settled_at in entries:
            if outcome == "no_answer":
                continue  # it was not sent
            pack = tuple(tuple(song) for song in songs)
            intended[pack] += 1
            if outcome == "uncertain":
                assert run_id in self.ended_early, "a request of a run that ended well is uncertain"
                uncertain.update(pack)
                requests_uncertain += 1
            else:
                assert (outcome, answered_at is None) == ("used", False), "an answer was not used"
                answered.update(pack)
                in_time = run_id not in self.ended_early or settled_at <= self.ended_early[run_id]
                used += in_time
                replayed += not in_time
        asked = Counter(tuple(pack) for pack in self.backfills.packs())
        assert asked <= intended, "a request was sent without its intent"
        assert set(answered.values()) <= {1}, "two answers for one song were used"
        times_asked = self.backfills.times_asked()
        billed, spent, uncertain_usd = self.hold_the_bill()
        assert billed <= spent + uncertain_usd + ROUNDING_USD, "more was billed than the ledger knows of"
        assert spent > 0
        return Accounts(
            kills=self.kills,
            answers_received=self._answers_received(),
            used=used,
            replayed=replayed,
            uncertain=requests_uncertain,
            asked_twice=sum(times > 1 + uncertain[song] for song, times in times_asked.items()),
            billed_usd=billed,
            spent_usd=spent,
            uncertain_usd=uncertain_usd,
        )


async def outcome_of(
    settings: Settings, range_key: str, run_id: str, tuning: Tuning = DEFAULT_TUNING
) -> dict[str, Any]:
    """{"report": its numbers}, {"fault": the sentence} or {"error": a traceback} of one run."""
    try:
        report = await fill_one(settings, range_key, run_id, LOG, tuning)
    except AboutnessError as fault:
        return {"fault": str(fault)}
    except Exception:
        return {"error": traceback.format_exc()}
    return {
        "report": {
            "songs_written": report.songs_written,
            "batch_requests": report.batch_requests,
            "answers_replayed": report.answers_replayed,
            "uncertain_requests": report.uncertain_requests,
            "cost_usd": report.cost_usd,
        }
    }


def _sessions_of_runs(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and application_name <> %s"
        " and backend_type = 'client backend'",
        [_ADMINISTRATOR],
    ).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True)
class CommitPoint:
    """A kind of row whose commit is a step of the pipeline."""

    name: str
    table: str
    event: str
    condition: str = "true"

    @property
    def in_service(self) -> bool:
        """Whether it lies in the service's database, not in ours."""
        return self.table == "song_aboutness"


COMMIT_POINTS = (
    CommitPoint("intent", "aboutness_ops.chat_request", "insert"),
    CommitPoint(
        "answer",
        "aboutness_ops.chat_request",
        "update",
        "new.answered_at is not null and old.answered_at is null",
    ),
    CommitPoint("settled", "aboutness_ops.chat_request", "update", "new.outcome = 'used'"),
    CommitPoint("row", "song_aboutness", "insert"),
    CommitPoint("attempt opened", "aboutness_ops.attempt", "insert"),
    CommitPoint("attempt closed", "aboutness_ops.attempt", "update"),
    CommitPoint("budget", "aboutness_ops.budget", "insert or update"),
    CommitPoint("failed song", "aboutness_ops.failed_song", "insert or update"),
)

_ADMINISTRATOR = "administrator"
"""application_name of the sessions that watch the runs."""

_GATE = 4_711
"""Key of the advisory lock in front of a gated commit point."""


@contextmanager
def watched(backfills: Backfills, point: CommitPoint) -> Iterator[psycopg.Connection]:
    """A connection that is notified of every commit of this kind."""
    with _administrator(backfills, point) as connection:
        _lay_trigger(connection, point, "pg_notify('commit_points', '')")
        connection.execute("listen commit_points")
        yield connection
        _remove_trigger(connection, point)


@contextmanager
def gated(backfills: Backfills, point: CommitPoint) -> Iterator[psycopg.Connection]:
    """A connection with which every transaction of this kind can be held just before its commit."""
    with _administrator(backfills, point) as connection:
        _lay_trigger(connection, point, f"pg_advisory_xact_lock_shared({_GATE})")
        yield connection
        _remove_trigger(connection, point)


def close_gate(connection: psycopg.Connection) -> None:
    """Hold from now on who comes to the gate."""
    connection.execute("select pg_advisory_lock(%s)", [_GATE])


def open_gate(connection: psycopg.Connection) -> None:
    """Let go who waits at the gate."""
    connection.execute("select pg_advisory_unlock_all()")


def wait_for_commits(connection: psycopg.Connection, number: int, run: KilledRun) -> None:
    """Return at the number-th commit, or when the run has ended without it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while number > 0 and not run.has_ended():
        number -= len(list(connection.notifies(timeout=0.05, stop_after=number)))
        assert time.monotonic() < deadline, "the run neither ended nor came so far"


def waiting_sessions(connection: psycopg.Connection) -> set[int]:
    """The process ids of the sessions that wait for a lock, of the gate or of a row."""
    return {
        pid
        for (pid,) in connection.execute(
            "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
    }


@contextmanager
def _administrator(backfills: Backfills, point: CommitPoint) -> Iterator[psycopg.Connection]:
    url = backfills.service.admin_url if point.in_service else backfills.service.ops_url
    with psycopg.connect(url, autocommit=True, application_name=_ADMINISTRATOR) as connection:
        if point.in_service:
            connection.execute("set event_triggers = off")
        yield connection


def _lay_trigger(connection: psycopg.Connection, point: CommitPoint, act: str) -> None:
    schema, _, _ = point.table.rpartition(".")
    function = f"{schema or 'public'}.at_commit_point"
    connection.execute(
        f"create function {function}() returns trigger language plpgsql as"
        f" $$ begin perform {act}; return null; end $$".encode()
    )
    connection.execute(
        f"create trigger at_commit_point after {point.event} on {point.table} for each row"
        f" when ({point.condition}) execute function {function}()".encode()
    )


def _remove_trigger(connection: psycopg.Connection, point: CommitPoint) -> None:
    schema, _, _ = point.table.rpartition(".")
    connection.execute(f"drop function {schema or 'public'}.at_commit_point cascade".encode())


def _serve() -> None:
    """Fork a run for every command that asks for one; wait for the end of one for every other."""
    import aiohttp  # noqa: F401
    import openai.resources.chat.completions
    import openai.resources.embeddings  # noqa: F401

    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            _, status = os.waitpid(command["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork would lose threads"
        child = os.fork()
        if child == 0:
            _run(command)
        print(child, flush=True)


def _run(command: dict[str, Any]) -> None:
    settings = load_settings(**command["settings"])
    outcome = asyncio.run(outcome_of(settings, command["range_key"], command["run_id"]))
    # Whole or not at all: it may be killed here too.
    written = tempfile.NamedTemporaryFile("w", dir=Path(command["outcome"]).parent, delete=False)  # noqa: SIM115
    with written:
        json.dump(outcome, written)
    Path(written.name).rename(command["outcome"])
    os._exit(0)


if __name__ == "__main__":
    _serve()

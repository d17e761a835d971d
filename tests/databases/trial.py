"""One case tried for real: preflight, partitions, a run over all of them, the criteria, another run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count

import psycopg

from aboutness_assets.database.service.aboutness_table import InsertRetry
from aboutness_assets.domain.errors import AboutnessError
from aboutness_assets.domain.findings import Finding
from aboutness_assets.orchestration.preflight import preflight
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.runs import fill_first_songs, fill_ranges
from tests.databases.case import PACK_SIZE, SONGS, Case
from tests.databases.servers import Reached
from tests.support.backfills import LOG, QUICK, Backfills, CatalogueRow, sample_songs
from tests.support.database_contents import contents
from tests.support.stand_in import StandIn

IMPATIENT = replace(QUICK, insert_retry=InsertRetry(attempts=8, first_wait_seconds=0.05))
"""What is lost or refused for a moment is tried again at once."""

_run_numbers = count(1)


OF_THE_DATABASE = re.compile(
    "DATABASE_URL|DAGSTER_PG_URL|songs|song_aboutness|catalogue|server|encoding|rights|row-level security"
    "|pooler|collation|insert|characters|triggers|sequences"
)
"""The checks of a preflight that look at a database; the others are about money and the provider."""


@dataclass
class Outcome:
    """What was found and what became of it.

    preflight_fails: the lines of the preflight that fail; preflight_notes: those that warn of or tell
    something.
    """

    preflight_fails: str
    preflight_notes: str
    changed_by_preflight: bool
    error: str = ""
    chat_requests: int = 0
    embedding_requests: int = 0
    max_usd: float = 0.0
    rows_written: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    criteria_that_fail: list[str] = field(default_factory=list)
    asked_again: int = 0

    @property
    def printed(self) -> str:
        """What a person reads: the preflight's lines, else why the run failed, and why a song did."""
        error = f"the run: {self.error}" if self.error and not self.preflight_fails else ""
        reasons = [f"song {song_id}: {reason}" for song_id, reason in self.failed.items()]
        lines = [self.preflight_fails or self.preflight_notes, error, *reasons]
        return "\n".join(filter(None, lines))


class Trial:
    """A case whose databases exist."""

    def __init__(self, case: Case, reached: Reached, stand_in: StandIn) -> None:
        self._case = case
        self._reached = reached
        settings = {"pack_size": PACK_SIZE, **case.settings}
        self._backfills = Backfills(
            reached.service, stand_in, settings_of_all_runs=settings, tuning=IMPATIENT
        )
        # What happens during a run is to happen before its first rows are inserted.
        slowly = {"latency_seconds": {"chat": 3}} if reached.during_run is not None else {}
        stand_in.control({"refused_parameters": list(case.refused_parameters), **slowly})

    async def outcome(self) -> Outcome:
        """Try it."""
        schema, _ = self._case.rows_in.split(".")
        before = self._contents(schema)
        findings = await preflight(self._backfills.settings())
        outcome = Outcome(
            self._printed(finding for finding in findings if finding.outcome == "fail"),
            self._printed(finding for finding in findings if finding.outcome in ("warn", "info")),
            changed_by_preflight=self._contents(schema) != before,
        )
        rows_before = self._rows()
        reports, outcome.error = await self._run_and_what_happens_meanwhile()
        outcome.failed = {
            str(song.song_id): self._normalized(song.reason) for report in reports for song in report.failed
        }
        asked = self._backfills.requests()
        outcome.chat_requests, outcome.embedding_requests = asked["chat"], asked["embeddings"]
        outcome.max_usd = self._spent()
        outcome.rows_written = self._rows() - rows_before
        if not outcome.error:
            verdicts = await self._backfills.criteria()
            outcome.criteria_that_fail = [verdict.name for verdict in verdicts if not verdict.passed]
            await self._run()
            outcome.asked_again = self._backfills.requests()["chat"] - asked["chat"]
        return outcome

    async def _run_and_what_happens_meanwhile(self) -> tuple[list[Report], str]:
        during_run = self._reached.during_run
        if during_run is None:
            return await self._run()
        is_time = lambda: bool(self._backfills.packs())  # noqa: E731
        outcome, _ = await asyncio.gather(self._run(), asyncio.to_thread(during_run, is_time))
        return outcome

    async def _run(self) -> tuple[list[Report], str]:
        """A run over the whole catalogue: its reports, and why it failed, in words.

        Where no partition can be created it is a smoke run.
        """
        reports: dict[str, Report] = {}
        run_id = f"run {next(_run_numbers)}"
        try:
            keys = await self._partition_keys()
            async with self._backfills.session() as session:
                if keys:
                    await fill_ranges(session, keys, run_id, LOG, reports.__setitem__)
                else:
                    _, reports["smoke"] = await fill_first_songs(session, run_id, LOG)
        except AboutnessError as error:
            return [*reports.values()], self._normalized(str(error))
        return [*reports.values()], ""

    async def _partition_keys(self) -> list[str]:
        try:
            return await self._backfills.create_partitions([])
        except AboutnessError:
            return []  # the run says why in its own words

    def _printed(self, findings: Iterable[Finding]) -> str:
        return "\n".join(
            self._normalized(str(finding)) for finding in findings if OF_THE_DATABASE.match(finding.check)
        )

    def _contents(self, schema: str) -> dict[str, tuple[object, ...]]:
        """Every table; a sequence may be ahead of what a rollback takes back."""
        found = contents(self._backfills.service.admin_url, schema)
        return {name: rows for name, rows in found.items() if name.startswith(f"{schema}.")}

    def _rows(self) -> int:
        [(rows,)] = self._backfills.look(f"select count(*) from {self._case.rows_in}")
        return int(rows)

    def _spent(self) -> float:
        """Dollars that all requests could have cost at most."""
        url = self._backfills.service.ops_url.partition("?")[0]
        with psycopg.connect(url) as connection:
            if connection.execute("select to_regclass('aboutness_ops.spending')").fetchone() == (None,):
                return 0.0
            row = connection.execute(
                "select coalesce(sum(max_usd), 0) from aboutness_ops.spending where kind = 'chat'"
            ).fetchone()
        assert row is not None
        return float(row[0])

    def _normalized(self, text: str) -> str:
        """Without the names and numbers that differ from trial to trial."""
        text = re.sub(r"\bservice_\d+\b", "service", text)
        text = re.sub(r"\boperations_\d+\b", "operations", text)
        return re.sub(r"\bport \d+\b", "port 5432", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:5432", text))


def songs_of(case: Case) -> list[CatalogueRow]:
    """The catalogue of a case: the sample's first songs, and its own at the end."""
    sample = sample_songs(SONGS)
    songs = [(title, artist) for _, title, artist in sample[: SONGS - len(case.further_songs)]]
    return [
        (case.ids(number), title, artist)
        for number, (title, artist) in enumerate([*songs, *case.further_songs], start=1)
    ]

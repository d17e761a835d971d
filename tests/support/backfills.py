"""Runs of fill_ranges on a service of the tests, and what they leave in its tables and at the endpoint."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from itertools import count, islice
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aboutness_assets.acceptance.evaluate import evaluate_criteria, evaluate_smoke_run
from aboutness_assets.acceptance.smoke import SmokeLine
from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.runs import create_partitions, fill_first_songs, fill_ranges
from aboutness_assets.pipeline.session import Session, open_catalogue, open_session
from aboutness_assets.pipeline.tuning import DEFAULT_TUNING, Tuning
from aboutness_assets.provider.retries import Retries
from aboutness_assets.settings import Settings, load_settings
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

CatalogueRow = tuple[int | str, str | None, str | None]

WHOLE_CATALOGUE = "000000001-000100000"
"""The key of a range of integer ids that holds every song of a test."""

DEADLINE_SECONDS = 60

LOG = logging.getLogger("backfills")

ONE_OLD_STYLE_ROW = (
    "insert into song_aboutness (song_id, emotions_text, moments_text, emotions_vector, created_at)"
    " values (%s, %s, 'Rain. [confidence: high]', array_fill(0.5, array[8])::real[], '2025-03-01')"
)

_PROCESS = """
import asyncio, logging, sys
from aboutness_assets.settings import load_settings
from tests.support.backfills import fill_one
range_key, run_id, interruptible = sys.argv[1:]
work = fill_one(load_settings(), range_key, run_id, logging.getLogger())
if interruptible:
    from aboutness_assets.orchestration.async_runner import run_until_interrupted
    run_until_interrupted(work, logging.getLogger())
else:
    asyncio.run(work)
"""

_run_numbers = count(1)


QUICK = Tuning(retries=Retries(backoff_seconds=0.001))
"""Requests that fail are sent again at once."""


async def fill_one(
    settings: Settings,
    range_key: str,
    run_id: str,
    log: logging.Logger,
    tuning: Tuning = DEFAULT_TUNING,
) -> Report:
    """Fill one range; its report."""
    reports: dict[str, Report] = {}
    async with open_session(settings, tuning) as session:
        await fill_ranges(session, [range_key], run_id, log, reports.__setitem__)
    return reports[range_key]


def sample_songs(number: int) -> list[CatalogueRow]:
    """The first well-known songs of the sample catalogue: real titles, so that texts differ."""
    sample = resources.files("aboutness_local") / "sample_songs.csv"
    rows = csv.DictReader(io.StringIO(sample.read_text(encoding="utf-8")))
    return [(int(row["song_id"]), row["title"], row["artist"]) for row in islice(rows, number)]


def valid(texts: Sequence[str]) -> bool:
    """Whether a row's texts and confidences are as CONTRACT wants them."""
    emotions, emotions_confidence, moments, moments_confidence = texts
    return {emotions_confidence, moments_confidence} <= {"low", "medium", "high"} and all(
        0 < len(text) <= 100
        and text == " ".join(text.split())
        and unicodedata.is_normalized("NFC", text)
        and not re.search(r"\[confidence:", text, re.IGNORECASE)
        for text in (emotions, moments)
    )


def wait_until(condition: Callable[[], bool], run: subprocess.Popen[str] | None = None) -> None:
    """Look until it is so; fails when that takes too long, or when the process ended before."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert run is None or run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)


@dataclass
class Backfills:
    """The runs of one service."""

    service: ServiceDatabase
    stand_in: StandIn
    range_key: str = WHOLE_CATALOGUE
    settings_of_all_runs: dict[str, Any] = field(default_factory=dict)
    tuning: Tuning = DEFAULT_TUNING

    def settings(self, **overrides: Any) -> Settings:
        """The settings of a run."""
        return load_settings(
            **{
                "database_url": self.service.url,
                "dagster_pg_url": self.service.ops_url,
                "openai_api_key": "stand-in",
                "openai_base_url": self.stand_in.base_url,
                "chat_model": "stand-in-writer",
                "embedding_model": "stand-in-wordllama",
                "chat_price": "0.10,0.01,0.50 (pretend price of the tests)",
                "embedding_price": "0.02 (pretend price of the tests)",
                "rate_limit_waits": "0.01,0.02",
                **self.settings_of_all_runs,
                **overrides,
            }
        )

    async def fill(self, **overrides: Any) -> Report:
        """One run over the range, with a run id of its own."""
        run_id = f"run {next(_run_numbers)}"
        return await fill_one(self.settings(**overrides), self.range_key, run_id, LOG, self.tuning)

    async def fill_in_vain(self, **overrides: Any) -> str:
        """One run over the range in which songs are left and none gets a row; what it says."""
        with pytest.raises(FatalError) as failed:
            await self.fill(**overrides)
        assert "No row was written" in str(failed.value)
        return str(failed.value)

    @asynccontextmanager
    async def session(self, **overrides: Any) -> AsyncIterator[Session]:
        """Both databases, as a run opens them."""
        async with open_session(self.settings(**overrides), self.tuning) as session:
            yield session

    async def smoke(self, run_id: str = "smoke") -> tuple[Report, list[SmokeLine]]:
        """A smoke run, and its acceptance table."""
        async with self.session() as session:
            songs, report = await fill_first_songs(session, run_id, LOG)
            return report, await evaluate_smoke_run(session, songs, report)

    async def criteria(
        self, range_keys: Sequence[str] = (), partition_keys: Sequence[str] = (), **options: Any
    ) -> list[Verdict]:
        """The verdict on every criterion."""
        async with self.session() as session:
            return await evaluate_criteria(session, range_keys, partition_keys, **options)

    async def create_partitions(self, keys: list[str]) -> list[str]:
        """Add the keys of the partitions that are missing; these keys."""
        async with open_catalogue(self.settings()) as catalogue:
            return await create_partitions(catalogue, lambda: keys, keys.extend, LOG)

    def start_process(self, *, interruptible: bool = False, **overrides: Any) -> subprocess.Popen[str]:
        """One run over the range in a process of its own, to be killed or interrupted."""
        settings = self.settings(**overrides)
        assert settings.openai_api_key is not None
        environment = {
            "DATABASE_URL": settings.service_url(),
            "DAGSTER_PG_URL": settings.operations_url(),
            "OPENAI_API_KEY": settings.openai_api_key.get_secret_value(),
            "OPENAI_BASE_URL": str(settings.openai_base_url),
            "ABOUTNESS_CHAT_MODEL": settings.chat_model,
            "ABOUTNESS_EMBEDDING_MODEL": settings.embedding_model,
            "ABOUTNESS_MAX_IN_FLIGHT": str(settings.max_in_flight),
            "ABOUTNESS_CHAT_PRICE": settings.chat_price or "",
            "ABOUTNESS_EMBEDDING_PRICE": settings.embedding_price or "",
        }
        arguments = [self.range_key, f"run {next(_run_numbers)}", "interruptible" if interruptible else ""]
        return subprocess.Popen(
            [sys.executable, "-c", _PROCESS, *arguments],
            env={**os.environ, **environment},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )

    def rows(self) -> dict[str, tuple[Any, ...]]:
        """The whole table, every value as Postgres writes it, by song_id."""
        found = self.look("select song_id::text, a::text, a.ctid::text, a.xmin::text from song_aboutness a")
        return {row[0]: row for row in found}

    def texts(self) -> dict[str, tuple[str, str, str, str]]:
        """emotions_text, emotions_confidence, moments_text, moments_confidence by song_id."""
        found = self.look(
            "select song_id::text, emotions_text, emotions_confidence, moments_text, moments_confidence"
            " from song_aboutness"
        )
        return {row[0]: row[1:] for row in found}

    def look(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a superuser of the service sees."""
        with psycopg.connect(self.service.admin_url, client_encoding="UTF8") as admin:
            return admin.execute(query.encode(), parameters).fetchall()

    def arrange(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """What an administrator of the service does, DDL too."""
        with psycopg.connect(self.service.admin_url) as admin:
            admin.execute("set local event_triggers = off")
            admin.execute(statement.encode(), parameters)

    def arrange_own(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Change what our own database holds."""
        with psycopg.connect(self.service.ops_url) as connection:
            connection.execute(statement.encode(), parameters)

    def journal(self, query: str) -> list[tuple[Any, ...]]:
        """What our own database holds."""
        with psycopg.connect(self.service.ops_url) as connection:
            return connection.execute(query.encode()).fetchall()

    def requests(self) -> Counter[str]:
        """Requests at the endpoint by route since its last reset."""
        return Counter(request["route"] for request in self.stand_in.requests()["requests"])

    def packs(self) -> list[list[tuple[str, str]]]:
        """Title and artist of the songs of each chat request since the last reset, first to last."""
        return [
            [(song["title"], song["artist"]) for song in request["songs"]]
            for request in self.stand_in.requests()["requests"]
            if request["route"] == "chat"
        ]

    def times_asked(self) -> Counter[tuple[str, str]]:
        """How often each song, by title and artist, was asked for since the last reset."""
        return Counter(song for pack in self.packs() for song in pack)

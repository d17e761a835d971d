"""Tries to insert rows into song_aboutness in one transaction that is rolled back; says what Postgres said.

The statement is the product's own (aboutness_table.py); the rows are complete, for real songs without one.
What the tables and the role are without trying is service_facts.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
from psycopg import AsyncConnection, errors, sql

from aboutness_assets.database.service.aboutness_table import AboutnessTable, Row
from aboutness_assets.database.service.confidence_labels import CONFIDENCES
from aboutness_assets.database.service.insert_refusals import refusal
from aboutness_assets.database.service.insert_side_effects import (
    blocking_suspects,
    side_effects,
)
from aboutness_assets.domain.findings import Finding
from aboutness_assets.domain.songs import Aboutness, Confidence, SongId

LOCK_TIMEOUT_MS = 3_000
STATEMENT_TIMEOUT_MS = 10_000
"""Both hold for the transaction of the probe alone: nobody waits longer for it, and it for nobody."""

_CHECK = "insert (rolled back)"
_ASSUMED_DIMENSION = 1536
"""Numbers per vector where nothing says how many: those of the default embedding model."""

_TEXTS: dict[Confidence, str] = {
    "low": "quiet joy",
    "medium": "as long as a text may be: one hundred characters ".ljust(100, "x"),
    "high": "walking home in the rain",
}
_BEYOND_ASCII = "Glück, “heim” – дом, 夜, 🎵"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a row is not there as it was given."""

    found: str
    what_to_do: str


async def try_inserts(
    connection: AsyncConnection, table: AboutnessTable, song_ids: Sequence[SongId], rollout_at: datetime
) -> list[Finding]:
    """Insert a complete row per confidence for songs that have none, see it, and roll everything back.

    song_ids: a few songs without a row; where there are none, nothing is tried and that is said. The
    connection must be outside of a transaction or at the start of one. Raises psycopg.Error where the
    connection is lost.
    """
    if not song_ids:
        return [Finding(_CHECK, "nothing was tried: every song that was looked at has a row", "info")]
    async with connection.transaction(force_rollback=True):
        await connection.execute(
            "select set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
            [str(LOCK_TIMEOUT_MS), str(STATEMENT_TIMEOUT_MS)],
        )
        return [
            *await _Probe(connection, table, rollout_at).findings(song_ids),
            *await side_effects(connection),
        ]


class _Probe:
    """The trials of one transaction."""

    def __init__(self, connection: AsyncConnection, table: AboutnessTable, rollout_at: datetime) -> None:
        self._connection = connection
        self._table = table
        self._rollout_at = rollout_at

    async def findings(self, song_ids: Sequence[SongId]) -> list[Finding]:
        """A line for what holds for all songs, and one for what holds for some."""
        refused = {song_id: await self._tried(song_id, "low") for song_id in song_ids}
        accepted = [song_id for song_id, refusal in refused.items() if refusal is None]
        findings = []
        if not accepted:
            return [_failed(f"song {song_id}", why) for song_id, why in refused.items() if why][:1]
        for song_id, why in refused.items():
            if why is not None:
                findings.append(
                    Finding(
                        _CHECK,
                        f"song {song_id}: {why.found}; song {accepted[0]} is taken",
                        "warn",
                        f"Such songs would be paid for and fail. {why.what_to_do}",
                    )
                )
        for confidence in ("medium", "high"):
            if (why := await self._tried(accepted[0], confidence)) is not None:
                words = "with its 100 characters, " if confidence == "medium" else ""
                findings.append(_failed(f"song {accepted[0]}, {words}confidence {confidence}", why))
        if any(finding.outcome == "fail" for finding in findings):
            return findings
        if (why := await self._together(accepted)) is not None:
            return [*findings, _failed(f"songs {', '.join(map(str, accepted))} at once", why)]
        if (why := await self._tried(accepted[0], "low", _BEYOND_ASCII)) is not None:
            findings.append(
                Finding(
                    "characters beyond ASCII",
                    f"{_BEYOND_ASCII!r}: {why.found}",
                    "warn",
                    "A song whose text holds such characters fails, after its text was paid for.",
                )
            )
        count = len(accepted)
        songs = f"{count} songs without a row ({accepted[0]} … {accepted[-1]})" if count > 1 else accepted[0]
        labels = ", ".join(self._table.confidence_labels[confidence] for confidence in CONFIDENCES)
        taken = f"rows for {songs} with the confidences {labels} were taken and seen"
        return [Finding(_CHECK, taken), *findings]

    async def _tried(
        self, song_id: SongId, confidence: Confidence, text: str | None = None
    ) -> _Refused | None:
        """Why the row of this song is not taken as it is, None where it is; it is gone afterwards."""
        row = self._row(song_id, confidence, text)
        try:
            async with self._connection.transaction(force_rollback=True):
                written = await self._table.insert_into(self._connection, [row])
                # What is deferred would otherwise only be looked at when the product commits.
                await self._connection.execute("set constraints all immediate")
                seen = await self._seen(song_id)
        except psycopg.Error as error:
            if self._connection.closed:
                raise
            return _Refused(*refusal(error))
        except UnicodeError:
            return _Refused(
                f"the client encoding {self._connection.info.encoding} lacks characters of the text",
                "See that PGCLIENTENCODING and client_encoding in DATABASE_URL are not set.",
            )
        if seen is None:
            return await self._not_there(row, written)
        return self._judged(row, seen)

    async def _together(self, song_ids: Sequence[SongId]) -> _Refused | None:
        """Why rows that are taken one by one are not taken in one transaction, as the product writes them."""
        rows = [
            self._row(song_id, confidence)
            for song_id, confidence in zip(song_ids, CONFIDENCES * len(song_ids), strict=False)
        ]
        try:
            async with self._connection.transaction(force_rollback=True):
                await self._table.insert_into(self._connection, rows)
                await self._connection.execute("set constraints all immediate")
                missing = [row for row in rows if await self._seen(row.song_id) is None]
                if missing:
                    return await self._not_there(missing[0], written=0)
        except psycopg.Error as error:
            if self._connection.closed:
                raise
            return _Refused(*refusal(error))
        return None

    def _row(self, song_id: SongId, confidence: Confidence, text: str | None = None) -> Row:
        given = text or _TEXTS[confidence]
        size = self._table.dimension or _ASSUMED_DIMENSION
        vector = np.full(size, size**-0.5, np.float32)
        return Row(song_id, Aboutness(given, confidence, given, confidence), vector, -vector)

    async def _seen(self, song_id: SongId) -> tuple[Any, ...] | None:
        # As text: psycopg reads a date in the ISO format alone, and a database may have another one.
        statement = sql.SQL(
            "select emotions_text::text, moments_text::text, emotions_confidence::text,"
            " moments_confidence::text, {size}(emotions_vector), {size}(moments_vector), created_at::text,"
            " created_at >= {rollout} from song_aboutness where {song}"
        ).format(
            size=self._table.vector_size,
            rollout=sql.Literal(self._rollout_at),
            song=self._table.among([song_id]),
        )
        return await (await self._connection.execute(statement)).fetchone()

    async def _not_there(self, row: Row, written: int) -> _Refused:
        """Why a row that was inserted without an error is not seen."""
        if not written:
            try:
                async with self._connection.transaction(force_rollback=True):
                    await self._table.insert_into(self._connection, [row], on_conflict="")
                    if await self._seen(row.song_id) is not None:
                        return _Refused("the row was taken only the second time", "Try again.")
            except errors.UniqueViolation as taken:
                return _Refused(
                    "the INSERT reports no error and writes nothing: another row has its value of "
                    f"{taken.diag.constraint_name}",
                    "Every column that is unique beside song_id needs a value of its own per row. Where it "
                    "is song_id itself, row-level security hides a row that is there.",
                )
            except psycopg.Error as error:
                if self._connection.closed:
                    raise
                return _Refused(*refusal(error))
        suspects = await blocking_suspects(self._connection)
        return _Refused(
            "the INSERT reports no error, but the row is not in the table afterward"
            + (f"; {suspects}" if suspects else ""),
            "Let triggers and rules pass the row as it is, and let the role see all rows of song_aboutness "
            "(a policy for select using (true)).",
        )

    def _judged(self, row: Row, seen: tuple[Any, ...]) -> _Refused | None:
        about, labels = row.aboutness, self._table.confidence_labels
        *texts_and_confidences, emotions_size, moments_size, created_at, is_new = seen
        given = [
            about.emotions_text,
            about.moments_text,
            labels[about.emotions_confidence],
            labels[about.moments_confidence],
        ]
        if [str(value).rstrip() for value in texts_and_confidences] != given:
            return _Refused(
                "the row that was inserted holds other texts or confidences than were given",
                "A trigger changes them: let it leave them as they are.",
            )
        if {emotions_size, moments_size} != {row.emotions_vector.size}:
            return _Refused(
                f"of {row.emotions_vector.size} numbers {emotions_size} and {moments_size} arrived",
                "A trigger changes the vectors: let it leave them as they are.",
            )
        if not is_new:
            rollout = f", before ABOUTNESS_ROLLOUT_AT ({self._rollout_at.isoformat()})"
            return _Refused(
                f"created_at of a new row is {created_at or 'null'}{rollout if created_at else ''}",
                "Let its default be now(); see that no trigger changes it and the server's clock is right.",
            )
        return None


def _failed(tried: str, why: _Refused) -> Finding:
    return Finding(_CHECK, f"{tried}: {why.found}", "fail", why.what_to_do)

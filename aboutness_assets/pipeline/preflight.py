"""Whether the service's database takes the rows of a run: looked at and tried before anything is paid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from aboutness_assets.database.service.aboutness_table import AboutnessTable
from aboutness_assets.database.service.catalogue_relations import catalogue_relations
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.database.service.insert_probe import try_inserts
from aboutness_assets.database.service.replica import SongReader
from aboutness_assets.database.service.row_security import row_security_findings
from aboutness_assets.database.service.service_facts import (
    collation_findings,
    pooler_finding,
    rights_finding,
    server_findings,
)
from aboutness_assets.database.service.songs_to_try import songs_to_try
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.findings import Finding, failing
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import SongId
from aboutness_assets.pipeline.session import Session


async def service_findings(
    pool: ServicePool,
    table: AboutnessTable,
    songs_query: str,
    rollout_at: datetime,
    song_ids: Sequence[SongId] | None = None,
) -> list[Finding]:
    """What the service's database is like, and what it says to rows for songs that have none.

    song_ids: songs without a row to try it with, None: a few of the whole catalogue. Nothing stays in the
    database. Raises psycopg.Error where it cannot be read.
    """
    async with pool.connection() as connection:
        findings = await server_findings(connection)
    async with pool.connection() as connection:
        relations = await catalogue_relations(connection, songs_query)
        findings += [
            await rights_finding(connection, relations),
            *await row_security_findings(connection, relations),
            *await collation_findings(connection, table, songs_query),
        ]
    findings.append(await pooler_finding(pool))
    if failing(findings):
        return findings  # an INSERT would only say the same again
    if song_ids is None:
        async with pool.connection() as connection:
            search = await songs_to_try(connection, songs_query, table.id_type)
        if search.is_catalogue_empty:
            what_to_do = "Check DATABASE_URL, its schema, and ABOUTNESS_SONGS_QUERY."
            return [*findings, Finding("catalogue", "there is no song at all", "fail", what_to_do)]
        if search.took_too_long:
            found = "nothing was tried: the search for a song without a row took too long"
            what_to_do = "Every run tries it with songs of its own ranges."
            return [*findings, Finding("insert (rolled back)", found, "warn", what_to_do)]
        song_ids = search.found
    async with pool.connection() as connection:
        return findings + await try_inserts(connection, table, song_ids, rollout_at)


async def require_writable(session: Session, song_ids: Sequence[SongId], log: logging.Logger) -> None:
    """Raise FatalError, before anything is asked for, where the service would not take the rows of a run.

    song_ids: some of the run's songs without a row. Warnings are logged.
    """
    findings = await service_findings(
        session.service_pool, session.table, session.songs_query, session.rollout_at, song_ids
    )
    if failed := failing(findings):
        raise FatalError("Nothing was asked for, as no row could be written. " + " ".join(map(str, failed)))
    for finding in findings:
        if finding.outcome == "warn":
            log.warning("Preflight: %s", finding)


async def first_songs_of(songs: SongReader, ranges: Sequence[SongIdRange]) -> list[SongId]:
    """A few songs without a row, of the first range that has any."""
    for song_id_range in ranges:
        pages = songs.pages_without_row(song_id_range)
        async for page in pages:
            return few([song.song_id for song in page])
    return []


def few(song_ids: Sequence[SongId]) -> list[SongId]:
    """The first two and the last of them."""
    return list(dict.fromkeys([*song_ids[:2], *song_ids[-1:]]))

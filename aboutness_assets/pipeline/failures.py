"""Songs that are left without a row: in the log, in the report, and on record until they have one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from aboutness_assets.database.operations.failed_songs import FailedSongRecord, FailedSongs
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.domain.songs import Cause, FailedSong, Song, SongId
from aboutness_assets.pipeline.meter import Meter
from aboutness_assets.pipeline.report import Report


class Failures:
    """The failures of one run over one range.

    refused_before: songs, of the pages that were looked up, whose rows Postgres refused in earlier runs.
    """

    def __init__(self, records: FailedSongs, report: Report, log: logging.Logger, meter: Meter) -> None:
        self._meter = meter
        self._records = records
        self._report = report
        self._log = log
        self._on_record: set[SongId] = set()
        self._uncounted: dict[SongId, Cause] = {}
        self.refused_before: set[SongId] = set()

    async def records_of(self, page: Sequence[Song]) -> dict[str, FailedSongRecord]:
        """What is on record of the songs of a page, by song_id as text."""
        records = await self._records.among(page)
        for song in page:
            if (record := records.get(str(song.song_id))) is not None:
                self._on_record.add(song.song_id)
                if record.cause == "insert":
                    self.refused_before.add(song.song_id)
        return records

    async def add(self, failures: Sequence[FailedSong], request_ids: Sequence[int] = ()) -> None:
        """Leave songs out for this run; request_ids: the answers that failed them."""
        if not failures:
            return
        for failure in failures:
            song = printable_line(str(failure.song_id))
            self._log.warning("Song %s failed (%s): %s", song, failure.cause, failure.reason)
            self._uncounted[failure.song_id] = failure.cause
        self._report.failed += failures
        self._meter.songs("failed", len(failures))
        await self._records.record(failures, request_ids=request_ids)

    def uncounted(self, causes: Collection[Cause]) -> list[SongId]:
        """Songs that failed by one of these causes in this run, which do not count as attempts yet."""
        return [song_id for song_id, cause in self._uncounted.items() if cause in causes]

    async def count_attempts(self, causes: Collection[Cause]) -> None:
        """Count the failures by these causes as their songs' own, as the provider works."""
        song_ids = self.uncounted(causes)
        if song_ids:
            await self._records.count_attempts(song_ids)
            for song_id in song_ids:
                del self._uncounted[song_id]

    def leave_refused_in_quarantine(
        self, songs: dict[SongId, Song], records: Mapping[str, FailedSongRecord]
    ) -> None:
        """As leave_in_quarantine, for songs whose kept answers made rows that Postgres refused each time."""
        self.leave_in_quarantine(
            songs, {song_id: record for song_id, record in records.items() if record.cause == "insert"}
        )

    async def add_unknown(self, songs: Sequence[Song]) -> None:
        """Leave songs out of which the catalogue knows nothing that could be asked about."""
        reason = "The catalogue has neither a title nor an artist."
        await self.add([FailedSong(song.song_id, "nothing_known", reason) for song in songs])
        self._report.songs_left_out += len(songs)

    def leave_in_quarantine(self, songs: dict[SongId, Song], records: Mapping[str, FailedSongRecord]) -> None:
        """Take the songs that are in quarantine out of ``songs``."""
        for song_id in list(songs):
            record = records.get(str(song_id))
            if record is not None and record.quarantined:
                del songs[song_id]
                reason = (
                    f"In quarantine after {record.attempts} runs, until replay_failed_songs. {record.reason}"
                )
                self._log.warning("Song %s is left out (%s): %s", song_id, record.cause, reason)
                self._report.failed.append(FailedSong(song_id, record.cause, reason))
                self._report.songs_left_out += 1

    async def delete(self, written: Collection[SongId]) -> None:
        """These songs have their rows: take them off the record."""
        recovered = self._on_record.intersection(written)
        if recovered:
            await self._records.forget(recovered)

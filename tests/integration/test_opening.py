"""A database that restarts when a run begins costs no run."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from aboutness_assets.domain.errors import DatabaseAway
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.pipeline.session import open_session, opened
from aboutness_local.postgres import EmbeddedPostgres
from tests.support.backfills import WHOLE_CATALOGUE, Backfills, sample_songs
from tests.support.service_database import make_service
from tests.support.stand_in import StandIn

LOG = logging.getLogger("opening")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path, {"fsync": "off"}).start()
    yield server
    server.reset()


async def test_a_session_opens_when_the_database_is_back(
    server: EmbeddedPostgres, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Backfills(make_service(server, songs=sample_songs(3)), stand_in).settings()
    server.stop()
    with pytest.raises(DatabaseAway, match="DATABASE_URL"):
        async with opened(lambda: open_session(settings), LOG, away_seconds=0):
            pass

    told = asyncio.Event()

    def tell(_: logging.LogRecord) -> bool:
        told.set()
        return True

    LOG.addFilter(tell)

    async def open_and_look() -> list[int]:
        async with opened(lambda: open_session(settings), LOG, away_seconds=600) as session:
            assert "Waiting up to 600 s for a database" in caplog.text
            song_id_range = SongIdRange.from_key(WHOLE_CATALOGUE, session.id_type)
            return [len(page) async for page in session.songs.pages_without_row(song_id_range)]

    opening = asyncio.create_task(open_and_look())
    await told.wait()
    await asyncio.to_thread(server.start)
    assert await opening == [3]

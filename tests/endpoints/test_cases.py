"""Every case of the table, end to end: the real pipeline, Postgres and HTTP, and an endpoint of the case."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

from aboutness_assets.domain.errors import FatalError
from tests.endpoints.case import Case, FailsAlone, Fills, Stops
from tests.endpoints.cases import PROVIDERS
from tests.endpoints.rules import answering
from tests.support.backfills import QUICK, Backfills, sample_songs
from tests.support.openai_shapes import errors_of
from tests.support.oracle import Oracle
from tests.support.scripted_endpoint import ScriptedEndpoint
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

PACK_SIZE = 4
USUAL_EMBEDDING_REQUESTS = 4
"""At most: one finds out the dimension, and packs are embedded as they come."""
SECONDS = 60
"""For a run that waits for nothing that a case makes it wait for."""

CASES = [
    pytest.param(case, id=f"{provider.name}: {case.what}")
    for provider in PROVIDERS
    for case in provider.cases
]


class Trial:
    """A range of songs, an endpoint and a run over both."""

    def __init__(self, case: Case, service: ServiceDatabase, endpoint: ScriptedEndpoint) -> None:
        self._case = case
        self._songs = sample_songs(case.songs)  # numbered from 1
        range_key = f"000000001-{case.songs:09}"
        self.endpoint = endpoint
        # Of the endpoint it asks for the address alone.
        self.backfills = Backfills(service, cast(StandIn, endpoint), range_key, tuning=QUICK)
        self.oracle = Oracle(self._songs)

    async def run(self) -> Any:
        """Fill the range."""
        base_url = self.endpoint.base_url.removesuffix("/v1") + self._case.path
        usual = {"openai_base_url": base_url, "pack_size": PACK_SIZE, "rate_limit_waits": "0.01,0.02"}
        async with asyncio.timeout(SECONDS):
            return await self.backfills.fill(**{**usual, **self._case.settings})

    @property
    def most_requests(self) -> int:
        """At an endpoint that takes and answers everything."""
        return -(-len(self._songs) // PACK_SIZE) + USUAL_EMBEDDING_REQUESTS

    def titles_without_a_row(self) -> set[str]:
        """Titles of the songs that have none; every row that is there has its own song's texts."""
        texts = self.backfills.texts()
        assert self.oracle.without_own_texts(texts) == set()
        return {self.oracle.sent[song_id][0] for song_id in self.oracle.without_a_row(texts)}

    def check_requests(self) -> None:
        """Each request is in the ledger, and is as OpenAI's API describes it."""
        sent = self.endpoint.requests
        [(recorded,)] = self.backfills.journal("select count(*) from aboutness_ops.spending")
        assert recorded == len(sent)
        for request in sent:
            shape = "Embedding" if request.path.endswith("/embeddings") else "ChatCompletion"
            assert errors_of(f"Create{shape}Request", request.body) == []

    def blamed(self) -> int:
        """Songs whose failure counts as an attempt of their own."""
        [(songs,)] = self.backfills.journal(
            "select count(*) from aboutness_ops.failed_song where attempts > 0"
        )
        return int(songs)


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES)
async def test_a_run_meets_an_endpoint(
    service: ServiceDatabase, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with ScriptedEndpoint() as endpoint:
        endpoint.otherwise = answering(case.rules)
        trial = Trial(case, service, endpoint)
        match case.expected:
            case Fills(more_requests, warns):
                report = await trial.run()
                assert report.failed == []
                assert trial.titles_without_a_row() == set()
                assert len(endpoint.requests) <= trial.most_requests + more_requests
                assert warns in _warnings(caplog)
            case FailsAlone(says, causes, title):
                report = await trial.run()
                assert trial.titles_without_a_row() == {title}
                [failure] = report.failed
                assert failure.cause in causes
                assert says in failure.reason
                assert trial.blamed() == 1
            case Stops(says, most_requests):
                with pytest.raises(FatalError) as stopped:
                    await trial.run()
                assert says in str(stopped.value)
                assert len(endpoint.requests) <= most_requests
                assert trial.blamed() == 0
                trial.check_requests()
                endpoint.otherwise = answering(())
                await trial.run()
                assert trial.titles_without_a_row() == set()
        trial.check_requests()


def _warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)

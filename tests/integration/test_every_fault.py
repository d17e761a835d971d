"""Every fault, alone and in mixtures: no song is lost, none is mixed up with another, none is paid twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from aboutness_assets.domain.errors import FatalError
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.tuning import Tuning
from aboutness_assets.provider.retries import Retries
from aboutness_local.exchange import Route
from aboutness_local.faults import FAULTS
from tests.support.backfills import ONE_OLD_STYLE_ROW, Backfills, CatalogueRow, sample_songs
from tests.support.fault_kinds import FATAL, UNSEEN, survivable
from tests.support.oracle import Oracle, answered_honestly, asked_after_a_good_answer, broken_rows, songs_of
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

MakeService = Callable[..., ServiceDatabase]
Tell = Callable[..., None]

SONGS = 60
PACK_SIZE = 5
OLD_STYLE = (3, 17, 18, 42, 60)

ROUTES: tuple[Route, ...] = ("chat", "embeddings")
ALONE = [(route, name) for route in ROUTES for name in survivable(route)]
NEVER_ANSWERED = {"hang", "slow_drip"}
WAITED_FOR = NEVER_ANSWERED | {"http_429_retry_after", "http_429_retry_after_date"}
"""Faults that cost seconds each."""
TIMEOUT = 2
"""Seconds, where something is never answered: long enough for every honest answer on a busy machine."""
COUNTED_OUT_OF_THE_BOUND = {name for name in FAULTS if name.startswith("http_429")} | {
    "http_400_response_format"
}
"""A 429 is waited for however often it comes; a refused response_format costs each request once."""


TUNING = Tuning(retries=Retries(backoff_seconds=0.001), packs_per_embedding=2)
"""Quick retries, and several embedding requests: so few songs would be embedded at once."""

SHORT_PAUSES = replace(TUNING, retries=replace(TUNING.retries, max_wait_seconds=0.1), max_pause_seconds=0.1)
"""The cap of ten minutes on what a server may ask for, as a tenth of a second."""


@dataclass
class Trial:
    """One range with old-style rows in it, under faults and then without."""

    backfills: Backfills
    songs: list[CatalogueRow]
    pack_size: int

    def __post_init__(self) -> None:
        for number in OLD_STYLE:
            self.backfills.arrange(ONE_OLD_STYLE_ROW, [number, "Old style. " * 20])
        self.old_style = self.backfills.rows()
        self.oracle = Oracle(self.songs)

    async def run(self, **overrides: Any) -> Report:
        """One run, with a circuit breaker and a quarantine that never strike."""
        settings = {
            "pack_size": self.pack_size,
            "max_in_flight": 8,
            "request_timeout": 60,
            "breaker_unavailable": 1000,
            "breaker_bad_share": 1,
            "quarantine_after": 1000,
        }
        return await self.backfills.fill(**{**settings, **overrides})

    @property
    def wanted(self) -> set[str]:
        """The songs that had no row at the start."""
        return self.oracle.sent.keys() - self.old_style.keys()

    def new_texts(self) -> dict[str, tuple[str, str, str, str]]:
        """The texts of the rows that were written, by song_id."""
        texts = self.backfills.texts()
        return {song_id: texts[song_id] for song_id in texts.keys() - self.old_style.keys()}

    def mixed_up(self) -> set[str]:
        """The songs whose row bears another's texts."""
        return self.oracle.without_own_texts(self.new_texts())

    def check_table(self) -> None:
        """Nothing invalid, every vector of its own row's text, and the old-style rows as they were."""
        rows = self.backfills.rows()
        assert {song_id: rows[song_id] for song_id in self.old_style} == self.old_style
        assert broken_rows(self.backfills, rows.keys() - self.old_style.keys()) == set()

    def received(self) -> list[dict[str, Any]]:
        """The endpoint's record since its last reset."""
        requests: list[dict[str, Any]] = self.backfills.stand_in.requests()["requests"]
        return requests

    def check_nothing_asked_for(self, song_ids: set[str], requests: list[dict[str, Any]]) -> None:
        """None of these songs stands in a chat request."""
        asked = set().union(*(songs_of(request) for request in requests))
        assert asked.isdisjoint(self.oracle.sent[song_id] for song_id in song_ids)

    def check_bounds(self, report: Report, requests: list[dict[str, Any]]) -> None:
        """At most 2 + 2n chat requests a pack of n, each sent five times; embeddings likewise, by halves."""
        packs = -(-len(self.wanted) // self.pack_size)
        asked = report.batch_requests + report.single_song_requests
        assert asked <= packs * (2 + 2 * self.pack_size)
        sent = [request for request in requests if request["fault"] not in COUNTED_OUT_OF_THE_BOUND]
        assert sum(request["route"] == "chat" for request in sent) <= TUNING.retries.attempts * asked
        texts = 2 * len(self.wanted)
        embedding_requests = sum(request["route"] == "embeddings" for request in sent)
        assert embedding_requests <= TUNING.retries.attempts * (2 + 2 * (2 * texts - 1))


def make_trial(
    make_service: MakeService, stand_in: StandIn, number: int = SONGS, pack_size: int = PACK_SIZE
) -> Trial:
    songs = sample_songs(number)
    return Trial(Backfills(make_service(songs=songs), stand_in, tuning=TUNING), songs, pack_size)


async def endure(
    trial: Trial, control: dict[str, Any], tell: Tell, told: dict[str, Any], **settings: Any
) -> None:
    """A run under faults and an honest one after it; everything that must hold, holds after each."""
    stand_in = trial.backfills.stand_in
    stand_in.control(control)

    report = await trial.run(**settings)

    record = stand_in.requests()
    requests = trial.received()
    written = trial.new_texts().keys()
    failed = {str(failure.song_id) for failure in report.failed}
    stand_in.reset()
    again = await trial.run()
    requests_again = trial.received()
    chat_requests = sum(request["route"] == "chat" for request in requests)
    paid_twice = asked_after_a_good_answer(requests + requests_again)
    lost = trial.wanted - written - failed
    without_vector = sum(failure.cause == "embedding" for failure in report.failed)
    texts_to_embed = 1 + 2 * (len(written) + without_vector)  # one finds out the dimension
    tell(
        **told,
        songs=len(trial.wanted),
        injected=record["counts"]["faults"],
        failed_songs=len(failed),
        lost=len(lost | trial.oracle.without_a_row(trial.backfills.rows())),
        mixed_up=len(trial.mixed_up()),
        paid_twice=len(paid_twice),
        chat_requests=chat_requests,
        embedding_requests=len(requests) - chat_requests,
        waited=report.rate_limited_requests,
        packs_asked_again=report.batch_requests - -(-len(trial.wanted) // trial.pack_size),
        asked_alone=report.single_song_requests,
        sent_again=len(requests)
        - report.rate_limited_requests
        - report.batch_requests
        - report.single_song_requests
        - report.embedding_requests,
        texts_embedded_again=record["counts"]["items"]["inputs"] - texts_to_embed,
        replayed=again.answers_replayed,
    )

    assert lost == set()
    assert written.isdisjoint(failed)
    assert (report.songs_written, report.songs_failed) == (len(written), len(failed))
    trial.check_bounds(report, requests)
    trial.check_nothing_asked_for(set(trial.old_style), requests)
    trial.check_nothing_asked_for(set(trial.old_style) | written, requests_again)
    assert again.failed == []
    assert trial.oracle.without_a_row(trial.backfills.rows()) == set()
    trial.check_table()
    assert paid_twice == set()
    assert again.uncertain_requests == 0


def every_so_often(route: Route, fault: str) -> dict[str, Any]:
    """A control under which a fault strikes one route: once for sure, then by chance.

    The first embedding request only finds out the dimension, and no text is asked for before it.
    """
    script = [fault] if route == "chat" else [None, fault]
    probability = 0.1 if fault in WAITED_FOR else 0.4
    return {"seed": 3, route: {"script": script, "probabilities": {fault: probability}}}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("songs", "pack_size"), [(SONGS, PACK_SIZE), pytest.param(1000, 10, marks=pytest.mark.soak)]
)
@pytest.mark.parametrize(("route", "fault"), ALONE)
async def test_under_one_fault_every_song_keeps_its_own_texts_and_vectors(
    make_service: MakeService,
    stand_in: StandIn,
    reliability_result: Tell,
    route: Route,
    fault: str,
    songs: int,
    pack_size: int,
) -> None:
    trial = make_trial(make_service, stand_in, songs, pack_size)
    if fault == "http_429_retry_after_absurd":
        trial.backfills.tuning = SHORT_PAUSES
    told = {"kind": "fault", "fault": fault, "route": route}
    timeout = TIMEOUT if fault in NEVER_ANSWERED else 60

    await endure(trial, every_so_often(route, fault), reliability_result, told, request_timeout=timeout)

    assert trial.mixed_up() == set()


@pytest.mark.parametrize("fault", sorted(UNSEEN))
async def test_under_a_lie_that_cannot_be_seen_all_else_still_holds(
    make_service: MakeService, stand_in: StandIn, reliability_result: Tell, fault: str
) -> None:
    """The texts are another song's: this is what is not promised, and here is how far it goes."""
    trial = make_trial(make_service, stand_in)
    told = {"kind": "fault", "fault": fault, "route": "chat"}

    await endure(trial, every_so_often("chat", fault), reliability_result, told)

    assert trial.mixed_up() != set()


def mixture(seed: int, share: float) -> dict[str, Any]:
    """All survivable faults at once; share of the requests that one of them strikes."""
    chat, embeddings = (dict.fromkeys(names, share / len(names)) for names in map(survivable, ROUTES))
    return {
        "seed": seed,
        "chat": {"probabilities": chat},
        "embeddings": {"script": [None], "probabilities": embeddings},
    }


@pytest.mark.parametrize("seed", range(4))
async def test_under_any_mixture_of_faults_every_song_keeps_its_own_texts_and_vectors(
    make_service: MakeService, stand_in: StandIn, reliability_result: Tell, seed: int
) -> None:
    trial = make_trial(make_service, stand_in)
    trial.backfills.tuning = SHORT_PAUSES

    await endure(trial, mixture(seed, 0.6), reliability_result, {"kind": "mixture"}, request_timeout=TIMEOUT)

    assert trial.mixed_up() == set()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 130))
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
async def test_under_any_mixture_many_songs_keep_their_own_texts_and_vectors(
    make_service: MakeService, stand_in: StandIn, reliability_result: Tell, seed: int, share: float
) -> None:
    trial = make_trial(make_service, stand_in, 500, pack_size=10)
    trial.backfills.tuning = SHORT_PAUSES

    await endure(
        trial, mixture(seed, share), reliability_result, {"kind": "mixture"}, request_timeout=TIMEOUT
    )

    assert trial.mixed_up() == set()


@pytest.mark.thorough
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("fault", sorted(FATAL))
async def test_a_fatal_fault_in_mid_run_stops_it_at_once_and_blames_no_song(
    make_service: MakeService, stand_in: StandIn, reliability_result: Tell, route: Route, fault: str
) -> None:
    trial = make_trial(make_service, stand_in)
    stand_in.control({route: {"script": [None, None, None, fault], "probabilities": {fault: 1}}})

    with pytest.raises(FatalError):
        await trial.run(max_in_flight=2)

    record, requests, written = stand_in.requests(), trial.received(), set(trial.new_texts())
    [(failed_songs,)] = trial.backfills.journal("select count(*) from aboutness_ops.failed_song")
    trial.check_table()
    stand_in.reset()
    report = await trial.run()
    requests_again = trial.received()
    paid_twice = asked_after_a_good_answer(requests + requests_again)
    reliability_result(
        kind="stop",
        fault=fault,
        route=route,
        songs=len(trial.wanted),
        injected=record["counts"]["faults"],
        failed_songs=failed_songs,
        lost=len(trial.oracle.without_a_row(trial.backfills.rows())),
        mixed_up=len(trial.mixed_up()),
        paid_twice=len(paid_twice),
        rows_before=len(written),
        replayed=report.answers_replayed,
    )
    assert failed_songs == 0
    assert answered_honestly(requests)
    assert paid_twice == set()
    trial.check_nothing_asked_for(set(trial.old_style) | written, requests_again)
    assert report.failed == []
    assert trial.oracle.without_a_row(trial.backfills.rows()) == set()
    assert trial.mixed_up() == set()
    trial.check_table()

"""A backfill of real songs that is estimated before any billing, again after a smoke run, and then billed.

The provider is the stand-in, which counts tokens by OpenAI's tokenizer (o200k) over messages, schema and
compact answers. Its texts are phrases of a bank and not those of a language model.
"""

from __future__ import annotations

import csv
import gzip
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aboutness_assets.domain.songs import Song
from aboutness_assets.money.estimate import Estimate
from aboutness_assets.money.prices import Price, chat_price, embedding_price
from aboutness_assets.money.token_counts import by_characters, token_counter
from aboutness_assets.pipeline.estimating import estimate_backfill
from aboutness_assets.pipeline.report import Report
from aboutness_local.endpoint_process import EndpointProcess
from aboutness_local.postgres import EmbeddedPostgres
from tests.support.backfills import Backfills
from tests.support.service_database import ServiceDatabase, make_service
from tests.support.stand_in import StandIn

CATALOGUE = Path(__file__).parents[2] / "shared" / "data" / "catalogue_full.csv.gz"
WHOLE = "000000001-000200000"
CHAT_MODEL, EMBEDDING_MODEL = "gpt-6-luna", "text-embedding-3-small"
DIMENSION = 8
"""Of the trial's vectors: they cost what their texts cost."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens of a finished backfill, and dollars as the endpoint billed them and as the ledger says."""

    songs: int
    prompt_tokens: int
    completion_tokens: int
    embedding_tokens: int
    billed_usd: float
    ledger_usd: float


@dataclass(frozen=True, slots=True)
class Trial:
    """before: estimates of all songs, by what counts their names; after: of those that the smoke run left.

    whole: of the whole catalogue, before any billing, by the tokenizer.
    """

    before: dict[str, Estimate]
    after: dict[str, Estimate]
    bill_of_all: Bill
    bill_of_rest: Bill
    whole: Estimate


def catalogue() -> list[Song]:
    """All songs of the full catalogue, by song_id."""
    with gzip.open(CATALOGUE, "rt", encoding="utf-8") as file:
        return [Song(int(row["song_id"]), row["title"], row["artist"]) for row in csv.DictReader(file)]


def sample(songs: Sequence[Song], number: int) -> list[Song]:
    """So many songs from all over the catalogue, the same ones every time, by song_id."""
    chosen = sorted(random.Random(1).sample(range(len(songs)), number))
    return [songs[position] for position in chosen]


def prices() -> tuple[Price, Price]:
    """The listed prices of the two default models."""
    chat, embedding = chat_price(CHAT_MODEL, None), embedding_price(EMBEDDING_MODEL, None)
    assert chat is not None
    assert embedding is not None
    return chat, embedding


async def run_trial(songs: Sequence[Song]) -> Trial:
    """Estimate, run a smoke run, estimate the rest, run the backfill."""
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres", {"fsync": "off", "max_connections": "200"})
        endpoint = EndpointProcess(Path(directory) / "endpoint", DIMENSION)
        try:
            server.start()
            stand_in = StandIn(endpoint.start())
            stand_in.control({"tokens": "o200k", "prices": _stand_in_prices()})
            backfills = Backfills(_service(server, songs), stand_in, WHOLE, _settings())
            before = await _estimates(backfills)
            smoke, _ = await backfills.smoke()
            of_smoke = _bill(smoke, stand_in)
            after = await _estimates(backfills)
            of_rest = _bill(await backfills.fill(), stand_in, of_smoke)
            everything = Backfills(_service(server, catalogue()), stand_in, WHOLE, _settings())
            whole = (await _estimates(everything))[token_counter().source]
            return Trial(before, after, _sum(of_smoke, of_rest), of_rest, whole)
        finally:
            endpoint.reset()
            server.reset()


async def _estimates(backfills: Backfills) -> dict[str, Estimate]:
    """The product's estimate of the songs without a row, by what counts their names."""
    async with backfills.session() as session:
        terms = await session.terms()
        return {
            counter.source: await estimate_backfill(session, terms, counter)
            for counter in (by_characters(), token_counter())
        }


def _service(server: EmbeddedPostgres, songs: Sequence[Song]) -> ServiceDatabase:
    return make_service(server, songs=[(song.song_id, song.title, song.artist) for song in songs])


def _settings() -> dict[str, object]:
    """The list's prices, and one range for all."""
    return {
        "chat_model": CHAT_MODEL,
        "embedding_model": EMBEDDING_MODEL,
        "chat_price": None,
        "embedding_price": None,
        "max_in_flight": 32,
        "range_size": 10_000_000,
    }


def _stand_in_prices() -> dict[str, object]:
    chat, embedding = (price.rates_of("standard") for price in prices())
    return {
        "chat": {
            "input": float(chat.prompt),
            "cached": float(chat.cached),
            "output": float(chat.completion),
        },
        "embedding": float(embedding.prompt),
    }


def _bill(report: Report, stand_in: StandIn, earlier: Bill | None = None) -> Bill:
    billed = float(stand_in.billing()["totals"]["usd"])
    assert report.cost_usd is not None
    return Bill(
        report.songs_written,
        report.prompt_tokens,
        report.completion_tokens,
        report.embedding_tokens,
        billed - (earlier.billed_usd if earlier else 0.0),
        report.cost_usd,
    )


def _sum(one: Bill, other: Bill) -> Bill:
    return Bill(
        one.songs + other.songs,
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.embedding_tokens + other.embedding_tokens,
        one.billed_usd + other.billed_usd,
        one.ledger_usd + other.ledger_usd,
    )

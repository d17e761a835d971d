"""A backfill of real songs that is estimated before any billing, again after a smoke run, and then billed.

The provider is the stand-in, which counts tokens by OpenAI's tokenizer (o200k) over messages, schema and
compact answers. Its texts are phrases of a bank and not those of a language model.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.packs import Pack
from aboutness_assets.generation.prompt import chat_messages, response_format, sent_artist, sent_title
from aboutness_assets.money.estimate import (
    BilledEmbeddings,
    BilledRequest,
    Estimate,
    History,
    RateLimits,
    estimate,
    request_shape,
    songs_left,
)
from aboutness_assets.money.prices import Price, chat_price, embedding_price
from aboutness_assets.money.token_counts import TokenCounter, by_characters, token_counter
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.tuning import DEFAULT_TUNING
from aboutness_local.endpoint_process import EndpointProcess
from aboutness_local.postgres import EmbeddedPostgres
from tests.support.backfills import Backfills
from tests.support.service_database import make_service
from tests.support.stand_in import StandIn

CATALOGUE = Path(__file__).parents[2] / "shared" / "data" / "catalogue_full.csv.gz"
WHOLE = "000000001-000200000"
CHAT_MODEL, EMBEDDING_MODEL = "gpt-6-luna", "text-embedding-3-small"
PACK_SIZE = 10
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
    """before: estimates of all songs, by the tokens' source; after: of those that the smoke run left."""

    before: dict[str, Estimate]
    after: dict[str, Estimate]
    bill_of_all: Bill
    bill_of_rest: Bill


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


def estimate_of(songs: Sequence[Song], counter: TokenCounter, history: History | None = None) -> Estimate:
    """The estimate for these songs, as money.estimate makes it."""
    names = ((sent_title(song.title), sent_artist(song.artist)) for song in songs)
    left = songs_left(names, counter, [len(songs)], PACK_SIZE)
    shape = request_shape(counter, _request_texts, _answer_entry())
    per_embedding = DEFAULT_TUNING.packs_per_embedding * PACK_SIZE
    return estimate(left, shape, history or History(), prices(), RateLimits(), per_embedding)


async def run_trial(songs: Sequence[Song]) -> Trial:
    """Estimate, run a smoke run, estimate the rest, run the backfill."""
    counters = (by_characters(), token_counter())
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres", {"fsync": "off", "max_connections": "200"})
        endpoint = EndpointProcess(Path(directory) / "endpoint", DIMENSION)
        try:
            server.start()
            stand_in = StandIn(endpoint.start())
            stand_in.control({"tokens": "o200k", "prices": _stand_in_prices()})
            rows = [(song.song_id, song.title, song.artist) for song in songs]
            backfills = Backfills(make_service(server, songs=rows), stand_in, WHOLE, _settings())
            before = {counter.source: estimate_of(songs, counter) for counter in counters}
            smoke, _ = await backfills.smoke()
            of_smoke = _bill(smoke, stand_in)
            rest = _without_row(songs, backfills)
            after = {
                counter.source: estimate_of(rest, counter, _history(backfills, counter))
                for counter in counters
            }
            of_rest = _bill(await backfills.fill(), stand_in, of_smoke)
            return Trial(before, after, _sum(of_smoke, of_rest), of_rest)
        finally:
            endpoint.reset()
            server.reset()


def _settings() -> dict[str, object]:
    return {"chat_model": CHAT_MODEL, "embedding_model": EMBEDDING_MODEL, "max_in_flight": 32}


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


def _without_row(songs: Sequence[Song], backfills: Backfills) -> list[Song]:
    written = backfills.rows()
    return [song for song in songs if str(song.song_id) not in written]


def _history(backfills: Backfills, counter: TokenCounter) -> History:
    """What the ledger knows of the smoke run."""
    chat = [
        BilledRequest(
            len(songs),
            sum(counter.name(sent_title(title)) for title, _ in songs),
            sum(counter.name(sent_artist(artist)) for _, artist in songs),
            prompt_tokens,
            completion_tokens,
            is_repeat=kind == "single_song",
        )
        for songs, kind, prompt_tokens, completion_tokens in backfills.journal(
            "select r.songs, r.kind, a.prompt_tokens, a.completion_tokens"
            " from aboutness_ops.attempt a join aboutness_ops.chat_request r using (request_id)"
            " where a.state = 'billed' order by a.attempt_id"
        )
    ]
    [(requests, tokens)] = backfills.journal(
        "select count(*), sum(prompt_tokens) from aboutness_ops.spending"
        " where kind = 'embedding' and state = 'billed'"
    )
    songs = sum(request.songs for request in chat if not request.is_repeat)
    return History(chat, BilledEmbeddings(songs, requests, tokens))


def _request_texts(songs: int) -> list[str]:
    """All that a request for so many songs without names sends."""
    pack = Pack((Song(0, "", ""),) * songs)
    return [*(message["content"] for message in chat_messages(pack)), _compact(response_format(pack))]


def _answer_entry() -> str:
    """A song's part of an answer, its title and texts the letter x."""
    fields = response_format(Pack(()))["json_schema"]["schema"]["$defs"]["aboutness"]["properties"]
    entry = {"1": {name: "high" if "enum" in form else "x" for name, form in fields.items()}}
    return _compact(entry)[1:-1] + ","


def _compact(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

"""Against the flow that this project replaces, on the same endpoint with the same latencies.

That flow asks for 10 songs in one chat request, for the vectors of their 20 texts in 20 requests one after
the other, and then upserts row by row; strictly one thing at a time, with the ``openai`` client.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import openai
import psycopg

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.packs import Pack, packs_of
from aboutness_assets.generation.prompt import chat_messages, response_format
from benchmarks.endpoint.process import EndpointProcess
from benchmarks.environment import CHAT_MODEL, Environment, environment, real_songs
from benchmarks.result import Result, Table
from benchmarks.workers import workers

REQUESTS_PER_MINUTE = 5000
LATENCIES: dict[str, dict[str, Any]] = {
    "chat": {
        "latency_median": 4.0,
        "latency_sigma": 0.5,
        "limits": {"requests_per_minute": REQUESTS_PER_MINUTE},
    },
    "embeddings": {"latency_median": 0.25, "latency_sigma": 0.5},
}
"""Issue 4; seconds."""

PACK_SIZE = 10
PACKS_OF_OLD_FLOW = 6
"""One after the other, about a minute."""

OLD_FLOWS = 10
"""Each by itself and strictly sequential, in a thread; ten, so that the mean of the latencies is known."""

LEARNING_SECONDS = 30.0
"""Before ours is looked at."""

WINDOW_SECONDS = 60.0
SONGS_A_SECOND = REQUESTS_PER_MINUTE * PACK_SIZE / 60
CATALOGUE = 120_000
"""Songs; more than the limit lets pass in the two times together."""

TARGET = 700

_TABLE = "create table old_flow (like song_aboutness including all)"
_UPSERT = (
    "insert into old_flow (song_id, emotions_text, emotions_confidence, emotions_vector,"
    " moments_text, moments_confidence, moments_vector) values (%s, %s, %s, %s, %s, %s, %s)"
    " on conflict (song_id) do update set emotions_text = excluded.emotions_text,"
    " emotions_confidence = excluded.emotions_confidence, emotions_vector = excluded.emotions_vector,"
    " moments_text = excluded.moments_text, moments_confidence = excluded.moments_confidence,"
    " moments_vector = excluded.moments_vector"
)


def run() -> Result:
    """Measure the old flow, then ours in one process over a window in its midst."""
    with environment(CATALOGUE) as made:
        made.endpoint.control(**LATENCIES)
        seconds = _old_flows(made)
        old = PACK_SIZE / statistics.mean(seconds)
        print(f"  old flow: {old:.3f} songs/s", file=sys.stderr)
        ours = _ours(made)
        print(f"  ours: {ours['songs_per_second']:.1f} songs/s", file=sys.stderr)
    ratio = ours["songs_per_second"] / old
    uncertainty = statistics.stdev(seconds) / len(seconds) ** 0.5 / statistics.mean(seconds)
    return Result(
        name="old_flow",
        title="Against the old flow",
        summary=(
            f"The same endpoint ({REQUESTS_PER_MINUTE:,} chat requests per minute; lognormal latencies, "
            "median 4 s for a chat and 0.25 s for an embedding request, sigma 0.5) for both. The old flow: "
            f"the mean of {len(seconds)} packs in {OLD_FLOWS} independent flows. Ours: rows written in "
            f"one process over {WINDOW_SECONDS:.0f} s, {LEARNING_SECONDS:.0f} s after its start. "
            f"**{ratio:.0f} times as fast**; "
            f"target {TARGET}: {'met' if ratio >= TARGET else 'missed'}."
        ),
        tables=[
            Table(
                "Songs per second",
                ["flow", "songs/s", "times the old flow", "share of the limit, %"],
                [
                    ["old: one request at a time", old, 1, 100 * old / SONGS_A_SECOND],
                    [
                        "ours, one process",
                        ours["songs_per_second"],
                        ratio,
                        100 * ours["songs_per_second"] / SONGS_A_SECOND,
                    ],
                ],
                f"Standard error of the old flow's mean: {100 * uncertainty:.1f} %. "
                f"Share of 429s of ours in the window: {100 * ours['share_of_429s']:.2f} %.",
            )
        ],
        data={"old_seconds_a_pack": seconds, "ours": ours, "ratio": ratio, "latencies": LATENCIES},
    )


def _old_flows(made: Environment) -> list[float]:
    """Seconds of every pack of the old flows."""
    songs = [Song(number, *song) for number, song in enumerate(real_songs()[: CATALOGUE // 100], start=1)]
    packs = packs_of(songs, PACK_SIZE)
    with _scratch_table(made.admin_url), ThreadPoolExecutor(OLD_FLOWS) as flows:
        shares = [packs[first::OLD_FLOWS][:PACKS_OF_OLD_FLOW] for first in range(OLD_FLOWS)]
        done = flows.map(lambda share: _old_flow(made.endpoint, made.admin_url, share), shares)
        return [seconds for of_flow in done for seconds in of_flow]


def _old_flow(endpoint: EndpointProcess, url: str, packs: Sequence[Pack]) -> list[float]:
    """One flow; seconds of each pack."""
    taken = []
    with (
        openai.OpenAI(base_url=endpoint.base_url, api_key="benchmark") as client,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        for pack in packs:
            began = time.monotonic()
            request: dict[str, Any] = {
                "messages": chat_messages(pack),
                "response_format": response_format(pack),
            }
            completion = client.chat.completions.create(model=CHAT_MODEL, reasoning_effort="none", **request)
            entries = json.loads(completion.choices[0].message.content or "")["songs"]
            rows = []
            for key, song in pack.keyed().items():
                row: list[Any] = [song.song_id]
                for name in ("emotions", "moments"):
                    text = entries[key][f"{name}_text"]
                    answer = client.embeddings.create(model="text-embedding-3-small", input=text)
                    row += [text, entries[key][f"{name}_confidence"], str(answer.data[0].embedding)]
                rows.append(row)
            for row in rows:
                connection.execute(_UPSERT, row)
            taken.append(time.monotonic() - began)
    return taken


@contextmanager
def _scratch_table(admin_url: str) -> Iterator[None]:
    """A table that takes upserts; the service's own refuses them to our role."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("set event_triggers = off")  # they forbid DDL
        admin.execute(_TABLE)
        yield
        admin.execute("drop table old_flow")


def _ours(made: Environment) -> dict[str, float]:
    """Rows per second, and the share of 429s, in the window."""
    with psycopg.connect(made.admin_url, autocommit=True) as admin, workers(made, 1) as [worker]:
        time.sleep(LEARNING_SECONDS)
        made.endpoint.clear_stats()
        rows, began = _rows(admin), time.monotonic()
        time.sleep(WINDOW_SECONDS)
        written, seconds = _rows(admin) - rows, time.monotonic() - began
        assert worker.poll() is None, "The catalogue was done before the window was over, or the run failed."
        chat = made.endpoint.stats()["chat"]
    return {
        "songs_per_second": written / seconds,
        "seconds": seconds,
        "share_of_429s": chat["rate_limited"] / max(chat["requests"], 1),
    }


def _rows(admin: psycopg.Connection) -> int:
    row = admin.execute("select count(*) from song_aboutness").fetchone()
    assert row is not None
    return int(row[0])

"""The whole job on the embedded environment, as a person would do it: ranges, smoke run, backfill, checks.

bin/demo runs it inside aboutness-local. The backfill is launched over Dagster's GraphQL, as its UI does it,
and run by its daemon.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

QUERY = "rainy night drive"
START_SECONDS = 120
BACKFILL_SECONDS = 900

_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_STATUS = """
query Status($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status error { message } }
  }
}
"""
_RANGES = """
{ assetNodes(assetKeys: [{path: ["song_aboutness"]}]) { partitionKeys } }
"""


def main() -> int:
    """Run the demo; returns the exit code."""
    began = time.monotonic()
    _step("Creating partitions: ranges of song_id over the catalogue (job sync_song_id_ranges)")
    _job("sync_song_id_ranges")
    _step("Smoke run: 50 songs, ten per request, then the acceptance table (job aboutness_smoke)")
    _job("aboutness_smoke", show="Acceptance table")
    _step("Backfill of every range, launched as the UI does and run by Dagster's daemon")
    with _dagster() as url:
        _backfill(url)
    _step("All checks over the whole table (job aboutness_checks)")
    _job("aboutness_checks", show="Acceptance table")
    _counts()
    _step(f"Example: songs for “{QUERY}” (nearest moments_vector)")
    _search()
    print(
        f"\nDone in {time.monotonic() - began:.0f} s. Look at it in the UI:\n"
        "  .venv/bin/aboutness-local dagster dev      then open http://127.0.0.1:3000/assets/song_aboutness\n"
        "The texts come from the stand-in endpoint, which picks phrases by similarity. For a real model set\n"
        "DATABASE_URL, DAGSTER_PG_URL and OPENAI_API_KEY, and leave out aboutness-local (README)."
    )
    return 0


def _step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def _job(name: str, show: str = "") -> None:
    """Run a job as the CLI does; print its table, or all its output when it fails."""
    command = ["dagster", "job", "execute", "-m", "aboutness_assets.definitions", "-j", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode:
        print(output)
        sys.exit(f"The job {name} failed; its output is above.")
    print(_excerpt(output, show) if show and show in output else f"{name}: done")


def _excerpt(output: str, marker: str) -> str:
    """The lines of a table that follow a marker in a log."""
    lines = output[output.index(marker) :].splitlines()
    table = [line for line in lines[1:] if " | " in line or "-+-" in line]
    return "\n".join(table)


@contextmanager
def _dagster() -> Iterator[str]:
    """Dagster's webserver and daemon on a free port of loopback; yields the address of its GraphQL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log_path = Path(os.environ["DAGSTER_HOME"]) / "demo.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            ["dagster", "dev", "-h", "127.0.0.1", "-p", str(port), "-m", "aboutness_assets.definitions"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}/graphql"
        try:
            _wait_until_up(url, process, log_path)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if _graphql(url, _RANGES)["assetNodes"]:
                return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"Dagster did not start; see {log_path}.")


def _backfill(url: str) -> None:
    ranges = _graphql(url, _RANGES)["assetNodes"][0]["partitionKeys"]
    params = {"assetSelection": [{"path": ["song_aboutness"]}], "partitionNames": ranges}
    launched = _graphql(url, _LAUNCH, {"params": params})["launchPartitionBackfill"]
    if launched["__typename"] != "LaunchBackfillSuccess":
        sys.exit(f"The backfill could not be launched: {launched}")
    print(f"{len(ranges)} partitions; the backfill daemon looks for work every 30 s", flush=True)
    deadline = time.monotonic() + BACKFILL_SECONDS
    songs = _one("select count(*) from songs")
    printed = -1
    while time.monotonic() < deadline:
        rows = _one("select count(*) from song_aboutness")
        if rows != printed:
            print(f"  {rows} of {songs} songs have a row", flush=True)
            printed = rows
        found = _graphql(url, _STATUS, {"id": launched["backfillId"]})["partitionBackfillOrError"]
        if found["status"] == "COMPLETED_SUCCESS":
            return
        if found["status"] not in ("REQUESTED", "IN_PROGRESS"):
            sys.exit(f"The backfill ended as {found['status']}: {found['error']}")
        time.sleep(1)
    sys.exit("The backfill did not end in time.")


def _graphql(url: str, query: str, variables: dict[str, Any] | None = None) -> Any:
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer = json.load(response)
    if answer.get("errors"):
        sys.exit(f"Dagster's GraphQL answers: {answer['errors']}")
    return answer["data"]


def _one(query: str) -> int:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _counts() -> None:
    songs, rows = _one("select count(*) from songs"), _one("select count(*) from song_aboutness")
    old = _one("select count(*) from song_aboutness where created_at < timestamptz '2026-02-20T00:00:00Z'")
    print(f"{songs} songs, {rows} rows: {old} old-style ones, {rows - old} new ones")


def _search() -> None:
    import openai

    vector = (
        openai.OpenAI()
        .embeddings.create(model=os.environ["ABOUTNESS_EMBEDDING_MODEL"], input=QUERY)
        .data[0]
        .embedding
    )
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        found = connection.execute(
            "select s.title, s.artist, a.moments_text from song_aboutness a join songs s using (song_id)"
            " order by a.moments_vector <=> %s::vector limit 5",
            [str(list(vector))],
        ).fetchall()
    for title, artist, moments in found:
        print(f"  {title} — {artist}: {moments}")


if __name__ == "__main__":
    sys.exit(main())

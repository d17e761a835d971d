"""Real songs for services, and rows as their administrator may have written them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from importlib.resources import files
from itertools import islice

from tests.support.dagster_project import DagsterProject

Song = tuple[int | str, str | None, str | None]

BEFORE_ROLLOUT = "2025-01-01T00:00:00Z"
AFTER_ROLLOUT = "2026-03-01T00:00:00Z"


def real_songs(number: int, ids: Iterable[int | str] | None = None) -> list[Song]:
    """So many songs of the sample catalogue, with the ids 1, 2, … or the given ones."""
    sample = files("aboutness_local").joinpath("sample_songs.csv").read_text("utf-8")
    rows = islice(csv.DictReader(sample.splitlines()), number)
    given = iter(ids) if ids is not None else iter(range(1, number + 1))
    return [(song_id, row["title"], row["artist"]) for song_id, row in zip(given, rows, strict=False)]


def write_row(
    project: DagsterProject, song_id: int | str, emotions_text: str, created_at: str = AFTER_ROLLOUT
) -> None:
    """Let the administrator of the service write a row."""
    project.sql(
        "insert into song_aboutness (song_id, emotions_text, moments_text, created_at)"
        " values (%s, %s, 'for no particular moment', %s)",
        song_id,
        emotions_text,
        created_at,
    )

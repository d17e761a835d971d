"""The asset readiness_report: what a person needs to know to decide whether the texts may be switched on."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.runs import coverage_by_range
from aboutness_assets.pipeline.session import open_catalogue

RANGES_SHOWN = 100
"""Rows of the table of ranges that lack rows."""


@dg.asset(deps=[song_aboutness], group_name="aboutness", kinds={"pandas"})
def readiness_report(
    context: dg.AssetExecutionContext, settings: SettingsResource
) -> dg.MaterializeResult[None]:
    """How much of the catalogue has a row, per range; costs one short read per range and no request."""
    ranges = context.instance.get_dynamic_partitions(SONG_ID_RANGES)

    async def count() -> list[tuple[str, int, int]]:
        async with open_catalogue(settings.load()) as catalogue:
            return await coverage_by_range(catalogue, ranges)

    counts = run_until_interrupted(count(), context.log)
    return dg.MaterializeResult(metadata=coverage_metadata(counts))


def coverage_metadata(counts: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """The metadata of the report: totals, and the ranges that lack most rows.

    counts: per range its key, how many songs it has and how many of them have a row.
    """
    import pandas as pd

    frame = pd.DataFrame(counts, columns=["range", "songs", "with_row"])
    frame["lacking"] = frame["songs"] - frame["with_row"]
    lacking = frame[frame["lacking"] > 0].sort_values("lacking", ascending=False, kind="stable")
    songs, rows = int(frame["songs"].sum()), int(frame["with_row"].sum())
    return {
        "songs": songs,
        "songs_with_row": rows,
        "coverage": round(rows / songs, 4) if songs else 0.0,
        "ranges": len(frame),
        "ranges_complete": len(frame) - len(lacking),
        "ranges_lacking_rows": dg.MetadataValue.md(
            lacking.head(RANGES_SHOWN).to_markdown(index=False)
            if len(lacking)
            else "Every range is complete."
        ),
    }

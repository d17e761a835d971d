"""Reports as Dagster shows them: the metadata of materializations."""

from typing import Any

import dagster as dg

from aboutness_assets.orchestration.markdown import failed_songs_table, sample_table
from aboutness_assets.pipeline.report import Report


def materialization_metadata(report: Report, chat_model: str, embedding_model: str) -> dict[str, Any]:
    """The metadata of a materialization (CONTRACT: Dagster), numbers first."""
    metadata: dict[str, Any] = {
        "songs_in_range": report.songs_in_range,
        "songs_written": report.songs_written,
        "songs_skipped_existing": report.songs_skipped_existing,
        "songs_failed": report.songs_failed,
        "batch_requests": report.batch_requests,
        "single_song_requests": report.single_song_requests,
        "embedding_requests": report.embedding_requests,
        "prompt_tokens": report.prompt_tokens,
        "cached_tokens": report.cached_tokens,
        "completion_tokens": report.completion_tokens,
        "embedding_tokens": report.embedding_tokens,
        "songs_per_second": round(report.songs_per_second, 3),
        "answers_replayed": report.answers_replayed,
        "uncertain_requests": report.uncertain_requests,
        "uncertain_usd": report.uncertain_usd,
        "rate_limited_requests": report.rate_limited_requests,
        "dagster/row_count": report.songs_written + report.songs_skipped_existing,
        "prices_from": report.prices_from,
        "texts_by": chat_model,
        "vectors_by": embedding_model,
    }
    if report.cost_usd is None:
        metadata["cost_usd"] = dg.MetadataValue.null()
    else:
        metadata["cost_usd"] = report.cost_usd
    if report.failed:
        metadata["warning"] = report.warning()
        metadata["failed_songs"] = dg.MetadataValue.md(failed_songs_table(report))
    if report.sample:
        metadata["sample"] = dg.MetadataValue.md(sample_table(report))
    return metadata

"""Reports as Dagster shows them: the metadata of materializations."""

from typing import Any

import dagster as dg

from aboutness_assets.orchestration.markdown import failed_songs_table, sample_table
from aboutness_assets.pipeline.report import Report
from aboutness_assets.settings import Settings


def range_materialization(
    asset_key: dg.AssetKey, range_key: str, report: Report, settings: Settings, columns: dg.TableSchema
) -> dg.AssetMaterialization:
    """The event that a range was filled, with how many rows it has now; columns: as the table has them.

    The UI takes the columns of an asset from its latest materialization. The description is what the run's
    log says of the range.
    """
    metadata = materialization_metadata(report, settings.chat_model, settings.embedding_model)
    metadata |= {"dagster/partition_row_count": report.rows, "dagster/column_schema": columns}
    return dg.AssetMaterialization(
        asset_key,
        partition=range_key,
        description=f"{range_key}: {report.summary()}",
        metadata=metadata,
    )


def materialization_metadata(report: Report, chat_model: str, embedding_model: str) -> dict[str, Any]:
    """The metadata of a materialization (CONTRACT: Dagster): six numbers that matter first, then the others.

    Dollars are rounded to a millionth, rates to three digits. What is seldom looked at shares one entry.
    """
    metadata: dict[str, Any] = {
        "songs_written": report.songs_written,
        "songs_failed": report.songs_failed,
        "songs_skipped_existing": report.songs_skipped_existing,
        "songs_in_range": report.songs_in_range,
        "cost_usd": dg.MetadataValue.null() if report.cost_usd is None else round(report.cost_usd, 6),
        "songs_per_second": three_digits(report.songs_per_second),
        "batch_requests": report.batch_requests,
        "single_song_requests": report.single_song_requests,
        "embedding_requests": report.embedding_requests,
        "prompt_tokens": report.prompt_tokens,
        "completion_tokens": report.completion_tokens,
        "embedding_tokens": report.embedding_tokens,
    }
    metadata |= {name: value for name, value in _exceptional(report).items() if value}
    metadata["details"] = {
        "texts_by": chat_model,
        "vectors_by": embedding_model,
        "prices_from": report.prices_from,
        "cached_tokens": report.cached_tokens,
    }
    if report.failed:
        metadata["warning"] = report.warning()
        metadata["failed_songs"] = dg.MetadataValue.md(failed_songs_table(report))
    if report.sample:
        metadata["sample"] = dg.MetadataValue.md(sample_table(report))
    return metadata


def three_digits(value: float) -> float:
    """A figure as a person reads it: three significant digits, whole from 100 on."""
    return float(f"{value:.3g}") if abs(value) < 100 else float(round(value))


def _exceptional(report: Report) -> dict[str, int | float]:
    """Numbers that are zero in most runs, and shown where they are not."""
    return {
        "answers_replayed": report.answers_replayed,
        "uncertain_requests": report.uncertain_requests,
        "uncertain_usd": round(report.uncertain_usd, 6),
        "rate_limited_requests": report.rate_limited_requests,
    }

"""How reports and verdicts look in Dagster's UI: metadata of materializations and checks, column schemas."""

import re
from collections.abc import Sequence
from typing import Any

import dagster as dg

from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.pipeline.report import Report

FAILED_SONGS_SHOWN = 100
"""Rows of the table of failed songs; all of them stand in the log."""

RANGES_SHOWN = 100
"""Rows of the table of ranges that lack rows."""

WARNINGS = ("ready_to_enable", "no_failed_songs")
"""Checks that merely warn: too few rows is no defect, only not yet, and single songs may fail for good."""

# The UI makes links of addresses too, after it has resolved escapes: these are broken by a word joiner.
_ADDRESS = re.compile(r"(?<=http)|(?<=www)|(?=@)", re.IGNORECASE)
_MARKDOWN = re.compile(r"([\\\\`*_{}\[\]<>()#+!|~&-])")


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
        "indeterminate_requests": report.indeterminate_requests,
        "indeterminate_usd_at_most": report.indeterminate_usd_at_most,
        "rate_limited_requests": report.rate_limited_requests,
        "dagster/row_count": report.songs_written + report.songs_skipped_existing,
        "texts_by": chat_model,
        "vectors_by": embedding_model,
    }
    if report.cost_usd is None:
        metadata["cost_usd"] = dg.MetadataValue.null()
    else:
        metadata["cost_usd"] = report.cost_usd
    if report.failed:
        metadata["failed_songs"] = dg.MetadataValue.md(failed_songs_table(report))
    if report.sample:
        metadata["sample"] = dg.MetadataValue.md(sample_table(report))
    return metadata


def failed_songs_table(report: Report) -> str:
    """The failed songs and why, as a Markdown table."""
    lines = ["| song_id | cause | reason |", "|---|---|---|"]
    lines += [
        f"| {_cell(failure.song_id)} | {failure.cause} | {_cell(failure.reason)} |"
        for failure in report.failed[:FAILED_SONGS_SHOWN]
    ]
    if len(report.failed) > FAILED_SONGS_SHOWN:
        lines.append(f"\n… and {len(report.failed) - FAILED_SONGS_SHOWN} more, which stand in the log.")
    return "\n".join(lines)


def failed_records_table(records: Sequence[FailedSongRecord]) -> str:
    """Failed songs on record, as a Markdown table."""
    lines = [
        "| song_id | cause | runs | quarantined | range | last | reason |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {_cell(record.song_id)} | {record.cause} | {record.attempts}"
        f" | {'yes' if record.quarantined else 'no'} | {_cell(record.range_key)}"
        f" | {record.last_failed_at:%Y-%m-%d %H:%M} | {_cell(record.reason)} |"
        for record in records
    ]
    return "\n".join(lines)


def sample_table(report: Report) -> str:
    """A few written texts, as a Markdown table."""
    lines = ["| song_id | title | artist | emotions | moments |", "|---|---|---|---|---|"]
    lines += [
        f"| {_cell(song.song_id)} | {_cell(song.title)} | {_cell(song.artist)}"
        f" | {_cell(about.emotions_text)} ({about.emotions_confidence})"
        f" | {_cell(about.moments_text)} ({about.moments_confidence}) |"
        for song, about in report.sample
    ]
    return "\n".join(lines)


def coverage_metadata(counts: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """The coverage report: totals, and the ranges that lack most rows; counts are (key, songs, rows)."""
    import pandas as pd

    frame = pd.DataFrame(counts, columns=["range", "songs", "with_row"])
    frame["lacking"] = frame["songs"] - frame["with_row"]
    lacking = frame[frame["lacking"] > 0].sort_values("lacking", ascending=False, kind="stable")
    songs, rows = int(frame["songs"].sum()), int(frame["with_row"].sum())
    return {
        "songs": songs,
        "songs_with_row": rows,
        "coverage": rows / songs if songs else 0.0,
        "ranges": len(frame),
        "ranges_complete": len(frame) - len(lacking),
        "ranges_lacking_rows": dg.MetadataValue.md(
            lacking.head(RANGES_SHOWN).to_markdown(index=False) if len(lacking) else "None."
        ),
    }


def verdict_result(verdict: Verdict, asset_key: dg.AssetKey) -> dg.AssetCheckResult:
    """An asset check's result."""
    severity = dg.AssetCheckSeverity.WARN if verdict.name in WARNINGS else dg.AssetCheckSeverity.ERROR
    metadata: dict[str, Any] = dict(verdict.details)
    if verdict.failed_songs:
        metadata["failed_songs"] = dg.MetadataValue.md(failed_records_table(verdict.failed_songs))
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=verdict.name,
        passed=verdict.passed,
        severity=severity,
        description=verdict.description,
        metadata=metadata,
    )


def _cell(value: object) -> str:
    """A value as printable_line Markdown: titles are data and must not render."""
    return _MARKDOWN.sub(r"\\\1", _ADDRESS.sub("\u2060", printable_line(str(value)[:200])))


def _column(
    name: str, kind: str, description: str, *, nullable: bool = False, unique: bool = False
) -> dg.TableColumn:
    return dg.TableColumn(
        name,
        kind,
        description=description,
        constraints=dg.TableColumnConstraints(nullable=nullable, unique=unique),
    )


SONGS_COLUMNS = dg.TableSchema(
    columns=[
        _column("song_id", "integer, bigint, text or uuid", "Primary key.", unique=True),
        _column("title", "text", "Title as the service spells it.", nullable=True),
        _column("artist", "text", "Artists, joined by ';'.", nullable=True),
    ]
)

_CONFIDENCE = "low, medium or high: how well the model knows the song."

ABOUTNESS_COLUMNS = dg.TableSchema(
    columns=[
        _column("song_id", "type of songs.song_id", "Primary key.", unique=True),
        _column("emotions_text", "text", "What the song makes one feel; 1 to 100 characters."),
        _column("emotions_confidence", "text", _CONFIDENCE, nullable=True),
        _column("emotions_vector", "vector, halfvec or array", "Embedding of emotions_text.", nullable=True),
        _column("moments_text", "text", "When and where one would play it; 1 to 100 characters."),
        _column("moments_confidence", "text", _CONFIDENCE, nullable=True),
        _column("moments_vector", "vector, halfvec or array", "Embedding of moments_text.", nullable=True),
        _column("created_at", "timestamptz", "When the row was inserted; before the rollout: old-style."),
    ]
)

"""The readiness report as metadata of a materialization: pictures, short tables, plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from aboutness_assets.acceptance.report_content import KindOfText, ReadinessReport
from aboutness_assets.acceptance.telling_sample import Chosen
from aboutness_assets.orchestration.markdown import markdown_table
from aboutness_assets.orchestration.pictures import (
    RED,
    bar_chart,
    confidence_strips,
    markdown_picture,
    share_strip,
)
from aboutness_assets.orchestration.report_words import old_and_new_rows, read_words, width_words


def report_metadata(report: ReadinessReport) -> dict[str, Any]:
    """What the UI shows of a report beside its file."""
    coverage, spent, throughput = report.coverage, report.spent, report.throughput
    md = dg.MetadataValue.md
    return {
        "coverage_by_range": md(
            markdown_picture("Coverage by range", share_strip([part.share for part in coverage.parts]))
        ),
        "confidence": md(_confidence(report)),
        **{f"{kind}_lengths": md(_lengths(kind, about)) for kind, about in report.texts.items()},
        "rows_over_time": md(_rows_over_time(report)),
        "songs": coverage.songs if coverage.is_counted else dg.MetadataValue.null(),
        "songs_with_row": coverage.with_row if coverage.is_counted else dg.MetadataValue.null(),
        "coverage": (
            int(coverage.share * 10_000) / 10_000 if coverage.is_counted else dg.MetadataValue.null()
        ),
        "ranges": coverage.ranges,
        "ranges_complete": coverage.complete,
        "new_rows_read": report.read.new_rows,
        "old_style_rows_read": report.read.old_style_rows,
        "read": read_words(report.read),
        "songs_failed": sum(report.failures.causes.values()),
        "spent_usd": round(spent.billed_usd, 4),
        "uncertain_usd": round(spent.uncertain_usd, 4),
        "to_go_usd_estimate": (
            dg.MetadataValue.null() if spent.to_go_usd is None else round(spent.to_go_usd[1], 4)
        ),
        "rows_per_busy_hour": round(throughput.busy_per_hour),
        "old_and_new_rows": md(markdown_table(["", "rows", "counted"], old_and_new_rows(report))),
        "failures_by_cause": md(
            markdown_table(["cause", "songs"], list(report.failures.causes.items()))
            if report.failures.causes
            else "No song is on record as failed."
        ),
        "ranges_lacking_rows": md(
            markdown_table(
                ["range", "songs", "with a row"],
                [(each.key, each.songs, each.with_row) for each in coverage.lacking],
            )
            if coverage.lacking
            else "Every range is complete."
        ),
        "sample": md(sample_markdown(report.sample)),
        "shared_texts": md(_shared(report)),
    }


def _confidence(report: ReadinessReport) -> str:
    counts = {kind: about.confidence for kind, about in report.texts.items()}
    words = "; ".join(
        f"{kind}: " + ", ".join(f"{level} {count:,}" for level, count in by_level.items())
        for kind, by_level in counts.items()
    )
    return f"{markdown_picture('Confidence', confidence_strips(counts))}\n\n{words}"


def _lengths(kind: str, about: KindOfText) -> str:
    lengths = about.lengths
    if lengths is None:
        return "No text was read."
    top = max(lengths.bars)
    picture = markdown_picture(f"Lengths of {kind}", bar_chart([bar / top for bar in lengths.bars], last=RED))
    words = f"median {lengths.median}, longest {lengths.longest} characters; over 100: {lengths.over_limit:,}"
    return f"{picture}\n\n{words}"


def _rows_over_time(report: ReadinessReport) -> str:
    throughput = report.throughput
    if throughput.start is None:
        return "No new row was read."
    top = max(throughput.bars)
    picture = markdown_picture("Rows over time", bar_chart([bar / top for bar in throughput.bars]))
    return f"{picture}\n\nfrom {throughput.start:%Y-%m-%d %H:%M} UTC, {width_words(throughput)} per bar"


def sample_markdown(sample: Sequence[Chosen]) -> str:
    """A telling sample of texts, and why each of them was chosen."""
    return markdown_table(
        ["why", "title", "artist", "emotions", "moments"],
        [
            (
                each.why,
                each.row.title,
                each.row.artist,
                f"{each.row.emotions_text} ({each.row.emotions_confidence})",
                f"{each.row.moments_text} ({each.row.moments_confidence})",
            )
            for each in sample
        ],
    )


def _shared(report: ReadinessReport) -> str:
    rows = [
        (each.songs, kind, each.text) for kind, about in report.texts.items() for each in about.shared.most
    ]
    totals = " ".join(
        f"{kind}: {about.shared.texts:,} texts are shared by {about.shared.songs:,} songs."
        for kind, about in report.texts.items()
    )
    table = "\n\n" + markdown_table(["songs", "kind", "text"], rows) if rows else ""
    return totals + table

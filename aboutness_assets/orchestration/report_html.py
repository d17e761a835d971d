"""The readiness report as one HTML file that needs nothing else: no network, no script, no other file.

Titles, artists and texts are hostile. Jinja2 escapes every value; what is inserted as it is are our own
pictures, which escape their words, and our own style, which the file's Content-Security-Policy names by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from aboutness_assets.acceptance.criteria import READY_TO_ENABLE
from aboutness_assets.acceptance.report_content import BIN, CONFIDENCES, LIMIT, OTHER, ReadinessReport
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.orchestration.pictures import (
    AMBER,
    BLUE,
    CONFIDENCE_COLORS,
    RED,
    TEAL,
    Bar,
    page_bars,
    page_stack,
)
from aboutness_assets.orchestration.report_words import (
    coverage_words,
    old_and_new_rows,
    read_words,
    run_rows,
    spending_rows,
    spent_words,
    throughput_words,
    usd,
    width_words,
)


@dataclass(frozen=True, slots=True)
class CheckSeen:
    """How a check came out when it was evaluated last."""

    name: str
    demands: str
    passed: bool
    evaluated_at: datetime


def report_html(report: ReadinessReport, checks: Sequence[CheckSeen] = ()) -> str:
    """The whole file. checks: those that were evaluated, in the order in which they are shown."""
    style = _resource("readiness_report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    throughput, coverage = report.throughput, report.coverage
    bars_last = timedelta(minutes=throughput.minutes_per_bar * len(throughput.bars))
    return _template().render(
        report=report,
        verdict=_verdict(checks),
        check_rows=[(check.name, "yes" if check.passed else "NO", check.demands) for check in checks],
        checks_when=_when([check.evaluated_at for check in checks]),
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=Markup(digest),  # noqa: S704 - base64
        pictures=_pictures(report),
        coverage_words=coverage_words(coverage),
        ranges_per_part=_ranges_per_part(report),
        lacking_rows=[(c.key, c.songs, c.with_row) for c in coverage.lacking],
        read_words=read_words(report.read),
        old_and_new_rows=old_and_new_rows(report),
        failed_rows=[
            (f.song_id, f.cause, f.attempts, f"{f.last_failed_at:%Y-%m-%d %H:%M}", f.reason)
            for f in report.failures.latest
        ],
        spending_rows=spending_rows(report.spent),
        spent_words=spent_words(report.spent),
        throughput_words=throughput_words(throughput, report.read),
        throughput_end=throughput.start + bars_last if throughput.start else None,
        width_words=width_words(throughput),
        bars_left_out=throughput.rows - sum(throughput.bars),
        run_rows=run_rows(throughput),
        shared_rows={
            kind: [(each.text, each.songs) for each in report.texts[kind].shared.most]
            for kind in report.texts
        },
    )


def _verdict(checks: Sequence[CheckSeen]) -> dict[str, str]:
    """The verdict of the check ready_to_enable, and when that was."""
    for check in checks:
        if check.name == READY_TO_ENABLE.name:
            says = f"by {check.name}, {_minute(check.evaluated_at)} UTC"
            if check.passed:
                return {"words": "READY", "css": "ready", "says": says}
            return {"words": "NOT YET", "css": "not-yet", "says": says}
    return {"words": "unknown", "css": "", "says": f"{READY_TO_ENABLE.name} was not evaluated so far"}


def _when(moments: Sequence[datetime]) -> str:
    """From the first of the moments to the last."""
    if not moments:
        return ""
    first, last = _minute(min(moments)), _minute(max(moments))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"


def _ranges_per_part(report: ReadinessReport) -> str:
    counted, parts = report.coverage.ranges - report.coverage.uncounted, len(report.coverage.parts)
    low, high = counted // max(parts, 1), -(-counted // max(parts, 1))
    return f"{low:,}" if low == high else f"{low:,} or {high:,}"


def _pictures(report: ReadinessReport) -> dict[str, Any]:
    top = max(report.throughput.bars, default=1) or 1
    start, width = report.throughput.start, report.throughput.minutes_per_bar
    return {
        "coverage": _as_is(
            page_bars(
                "Coverage by range",
                coverage_words(report.coverage),
                [
                    Bar(
                        part.share,
                        f"{part.first} to {part.last}: {part.with_row:,} of {part.songs:,} songs",
                        TEAL if part.with_row >= part.songs else BLUE,
                    )
                    for part in report.coverage.parts
                ],
            )
        ),
        "confidence": {
            kind: _as_is(
                page_stack(
                    f"Confidence of {kind}",
                    ", ".join(f"{level} {count:,}" for level, count in about.confidence.items()),
                    [(level, count, CONFIDENCE_COLORS[level]) for level, count in about.confidence.items()],
                )
            )
            for kind, about in report.texts.items()
        },
        "lengths": {
            kind: _as_is(
                page_bars(
                    f"Lengths of {kind}",
                    f"From {about.lengths.shortest} to {about.lengths.longest} characters, "
                    f"median {about.lengths.median}.",
                    _length_bars(about.lengths.bars),
                )
            )
            for kind, about in report.texts.items()
            if about.lengths
        },
        "throughput": _as_is(
            page_bars(
                "Rows over time",
                throughput_words(report.throughput, report.read),
                [
                    Bar(
                        rows / top,
                        f"{_minute(start + timedelta(minutes=width * place))} UTC: {rows:,} rows",
                    )
                    for place, rows in enumerate(report.throughput.bars)
                    if start
                ],
            )
        ),
    }


def _length_bars(bars: Any) -> list[Bar]:
    top = max(bars) or 1
    found = []
    for place, count in enumerate(bars):
        first = place * BIN
        if first > LIMIT:
            found.append(Bar(count / top, f"more than {LIMIT} characters: {count:,}", RED))
        elif first == LIMIT:
            found.append(Bar(count / top, f"{LIMIT} characters: {count:,}", AMBER))
        else:
            found.append(Bar(count / top, f"{first} to {first + BIN - 1} characters: {count:,}"))
    return found


def _as_is(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - pictures.py escapes all words in it


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "minute": _minute,
        "count": _count,
        "percent": _percent,
        "usd": usd,
        "line": printable_line,
        "cell": _cell,
        "level": _level,
    }
    return environment.from_string(_resource("readiness_report.html.j2"))


def _resource(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(share: float) -> str:
    return f"{int(share * 1000) / 10:g} %"  # 49.99 % is not half


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else printable_line(str(value))


def _level(confidence: str) -> str:
    return confidence.lower() if confidence.lower() in CONFIDENCES else OTHER

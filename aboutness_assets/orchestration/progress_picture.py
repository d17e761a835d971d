"""The picture of a backfill's progress: bars in an SVG, small enough for Dagster's UI to show it inline."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

INLINE_CHARACTERS = 1_000
"""Markdown of metadata shows inline only below so many characters (seen in Dagster 1.13.27)."""

_WIDTH, _BAR, _ROW = 420, 12, 38
_DONE, _FAILED, _LEFT = "#2a9d5c", "#e5484d", "#8885"
_TEXT = "#888"  # readable on white and on black


@dataclass(frozen=True, slots=True)
class Bar:
    """Songs in a row of the picture; left: None while they are not counted."""

    title: str
    done: int
    failed: int
    left: int | None


def picture(bars: Sequence[Bar]) -> str:
    """Markdown of a picture of up to two bars with their numbers, below INLINE_CHARACTERS characters."""
    height = _ROW * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" fill="{_TEXT}" '
        'font-family="sans-serif" font-size="12">'
    ]
    for number, bar in enumerate(bars):
        top = _ROW * number
        parts.append(f'<text y="{top + 13}">{_words(bar)}</text>')
        end = 0
        for color, width in zip((_DONE, _FAILED, _LEFT), _widths(bar), strict=True):
            if width:
                parts.append(f'<path fill="{color}" d="M{end} {top + 19}h{width}v{_BAR}h-{width}"/>')
            end += width
    svg = "".join([*parts, "</svg>"])
    return f"![](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _words(bar: Bar) -> str:
    if bar.left is None:
        return f"{bar.title}: {bar.done:,} done, {bar.failed:,} failed, being counted"
    share = 100 if not bar.left + bar.failed else 100 * bar.done // (bar.done + bar.failed + bar.left)
    return f"{bar.title} {share} %: {bar.done:,} done, {bar.failed:,} failed, {bar.left:,} left"


def _widths(bar: Bar) -> tuple[int, int, int]:
    """Pixels of what is done, failed and left; whatever there is of one shows."""
    if bar.left is None:
        return 0, 0, _WIDTH
    total = bar.done + bar.failed + bar.left
    if not total:
        return 0, 0, _WIDTH
    failed = min(_WIDTH, max(2 * bool(bar.failed), _WIDTH * bar.failed // total))
    left = min(_WIDTH - failed, max(2 * bool(bar.left), _WIDTH * bar.left // total))
    return _WIDTH - failed - left, failed, left

"""Pictures as SVG, made by small pure functions: for the report's page, and for Markdown in Dagster's UI.

Dagster's UI shows Markdown inline only below 1,000 characters, so a picture for Markdown is short: one path
per color, no markup that can be left out. Colors are legible on light and on dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

BLUE, TEAL, AMBER, RED, GRAY = "#2f7de1", "#0d9488", "#d97706", "#dc2626", "#8b8f98"
CONFIDENCE_COLORS = {"low": AMBER, "medium": TEAL, "high": BLUE, "other": GRAY}

WIDTH = 400
"""Pixels of a picture for Markdown: the page of an asset has 420 for it in a window of 1,400."""

MARKDOWN_CHARACTERS = 1_000
"""What a Markdown metadata value stays below to be shown inline."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart: its height from 0 to 1, what it says to somebody who points at it, and its color."""

    height: float
    says: str
    color: str = BLUE


def share_strip(shares: Sequence[float]) -> str:
    """Coverage for Markdown: one bar per part of the catalogue, as high as the share that has a row."""
    step = WIDTH / max(len(shares), 1)
    bars = "".join(
        f"M{step * (place + 0.5):.0f},40v-{40 * share:.0f}" for place, share in enumerate(shares) if share > 0
    )
    return _short(WIDTH, 40, _path("M0 20H480", GRAY, 40, " opacity='.3'") + _path(bars, BLUE, step * 0.8))


def confidence_strips(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Per kind of text one stacked strip for Markdown: low, medium, high, other from left to right."""
    parts = []
    for line, by_level in enumerate(counts.values()):
        total, left = max(sum(by_level.values()), 1), 0.0
        for level, count in by_level.items():
            width = WIDTH * count / total
            if width >= 0.5:
                path = f"M{left:.0f},{12 + 26 * line}h{width:.0f}"
                parts.append(_path(path, CONFIDENCE_COLORS[level], 20))
            left += width
    return _short(WIDTH, 26 * len(counts), "".join(parts))


def bar_chart(heights: Sequence[float], color: str = BLUE, last: str | None = None) -> str:
    """Bars for Markdown, each from 0 to 1 high. last: the color of the last bar, where it is another one."""
    step = WIDTH / max(len(heights), 1)

    def path(places: Iterable[int]) -> str:
        return "".join(
            f"M{step * (place + 0.5):.0f},60v-{max(60 * heights[place], 1):.0f}"
            for place in places
            if heights[place] > 0
        )

    width, end = step * 0.8, len(heights) - (last is not None)
    body = _path(path(range(end)), color, width)
    if last is not None:
        body += _path(path(range(end, len(heights))), last, width)
    return _short(WIDTH, 61, body + _path(f"M0,60.5H{WIDTH}", GRAY, 1))


def markdown_picture(says: str, svg: str) -> str:
    """A picture as Markdown. says: what it shows, in words without markup."""
    return f"![{says}](data:image/svg+xml,{quote(svg, safe=_SAFE)})"


# What a data URL in Markdown need not escape: no parenthesis, no blank, no "#" and "%".
_SAFE = "/:=,.;-+'"


def _short(width: int, height: int, body: str) -> str:
    return f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'>{body}</svg>"


def _path(path: str, color: str, width: float, more: str = "") -> str:
    if not path:
        return ""
    return f"<path d='{path}' stroke='{color}' stroke-width='{width:.3g}'{more}/>"


def page_bars(title: str, description: str, bars: Sequence[Bar]) -> str:
    """A bar chart for the page, without words in it: it may be stretched to any width and height."""
    step, shapes = 960 / max(len(bars), 1), []
    for place, bar in enumerate(bars):
        # A bar that is there is seen.
        tall = max(100 * min(bar.height, 1), 1.5) if bar.height > 0 else 0
        at = f'x="{step * (place + 0.08):.2f}" width="{step * 0.84:.2f}"'
        shapes.append(
            f'<g><title>{escape(bar.says)}</title><rect {at} y="0" height="100" fill="{GRAY}"'
            f' fill-opacity=".13"/>'
            f'<rect {at} y="{100 - tall:.2f}" height="{tall:.2f}" fill="{bar.color}"/></g>'
        )
    return _page(100, title, description, "".join(shapes))


def page_stack(title: str, description: str, parts: Sequence[tuple[str, int, str]]) -> str:
    """A stacked strip for the page, without words in it. parts: (name, count, color), from left to right."""
    total, left, shapes = max(sum(count for _, count, _ in parts), 1), 0.0, []
    for name, count, color in parts:
        width = 960 * count / total
        shapes.append(
            f'<g><title>{escape(f"{name}: {count:,}")}</title><rect x="{left:.2f}" y="0" height="30"'
            f' width="{width:.2f}" fill="{color}"/></g>'
        )
        left += width
    return _page(30, title, description, "".join(shapes))


def _page(height: int, title: str, description: str, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" preserveAspectRatio="none"'
        f' role="img" aria-label="{escape(f"{title}. {description}")}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )

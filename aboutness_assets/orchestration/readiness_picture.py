"""The result of ready_to_enable as a person reads it at a glance: a picture, what to do next, a short table.

Dagster shows the first 260 pixels of it on the page of the check. The picture has a background of its own, so
that it reads in the light and in the dark theme.
"""

import base64
from collections.abc import Iterator
from html import escape

from aboutness_assets.acceptance.criteria import OLD_STYLE_ROWS_UNTOUCHED
from aboutness_assets.acceptance.readiness import READY_COVERAGE, Readiness

_CHECK_PAGE = "/assets/song_aboutness?view=checks&checkDetail="
_READY, _NOT_YET = "#1a7f37", "#9a5b00"
_WIDTH, _HEIGHT, _EDGE = 560, 72, 16
"""Pixels."""


def readiness_markdown(readiness: Readiness) -> str:
    """The whole description, as Markdown."""
    return "\n".join(
        [
            f"**{_verdict(readiness)}.** {next_step(readiness)}",
            "",
            f"![{_verdict(readiness)}]({_data_url(readiness_svg(readiness))})",
            "",
            "| criterion | found | passes |",
            "|---|---|---|",
            *_rows(readiness),
        ]
    )


def next_step(readiness: Readiness) -> str:
    """One sentence of Markdown: what to do next."""
    if readiness.failing:
        links = ", ".join(f"[{name}]({_CHECK_PAGE}{name})" for name in readiness.failing)
        return f"Next: see {links}, which names the songs; find out who wrote or changed them."
    if not readiness.coverage.songs:
        return "Next: check `ABOUTNESS_SONGS_QUERY` and `DATABASE_URL`, as the catalogue has no song."
    if readiness.rows_missing:
        missing = f"{readiness.rows_missing:,}"
        return f"Next: launch a backfill. Rows missing until half of the songs have one: {missing}."
    return "Next: the service's search may be switched over; songs without a row can follow."


def readiness_svg(readiness: Readiness) -> str:
    """READY or NOT YET, and a bar of the songs that have a row, with a mark where enough have one."""
    length = _WIDTH - 2 * _EDGE
    filled = round(length * readiness.percent / 100, 1)
    mark = _EDGE + length * READY_COVERAGE
    color = _READY if readiness.is_ready else _NOT_YET
    found = f"{readiness.coverage.with_row:,} of {readiness.coverage.songs:,} songs: {readiness.percent} %"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"'
        ' font-family="sans-serif" font-size="15">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="{color}"/>'
        f'<text x="{_EDGE}" y="30" font-size="22" font-weight="bold">{escape(_verdict(readiness))}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="28" text-anchor="end">{escape(found)}</text>'
        f'<rect x="{_EDGE}" y="42" width="{length}" height="10" rx="3" fill-opacity=".3"/>'
        f'<rect x="{_EDGE}" y="42" width="{filled}" height="10" rx="3"/>'
        f'<path d="M{mark:g} 38v18" stroke="#000" stroke-width="3"/>'
        f'<text x="{mark:g}" y="68" font-size="11" text-anchor="middle">{READY_COVERAGE:.0%} needed</text>'
        "</svg>"
    )


def _verdict(readiness: Readiness) -> str:
    return "READY" if readiness.is_ready else "NOT YET"


def _rows(readiness: Readiness) -> Iterator[str]:
    coverage = readiness.coverage
    found = f"{coverage.with_row:,} of {coverage.songs:,} ({readiness.percent} %)"
    if coverage.counted_since:
        found += f", counted by range since {coverage.counted_since:%Y-%m-%d %H:%M} UTC"
    yield _row("songs with a row, at least half", found, readiness.is_enough)
    new_rows = {
        name: passed for name, passed in readiness.criteria.items() if name != OLD_STYLE_ROWS_UNTOUCHED.name
    }
    passing = sum(new_rows.values())
    yield _row("new rows as agreed", f"{passing} of {len(new_rows)} criteria", passing == len(new_rows))
    untouched = readiness.criteria.get(OLD_STYLE_ROWS_UNTOUCHED.name)
    if untouched is not None:
        yield _row("old-style rows untouched", "all as first seen" if untouched else "not all", untouched)


def _row(criterion: str, found: str, passed: bool) -> str:
    return f"| {criterion} | {found} | {'yes' if passed else '**NO**'} |"


def _data_url(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()

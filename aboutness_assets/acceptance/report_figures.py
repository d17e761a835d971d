"""The arithmetic of a readiness report, with pandas where it is at home. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aboutness_assets.acceptance.report_content import (
    BIN,
    CONFIDENCES,
    LIMIT,
    OTHER,
    Coverage,
    Lengths,
    Part,
    RangeCount,
    RunRate,
    Throughput,
)
from aboutness_assets.database.operations.spending_report import RunSpending
from aboutness_assets.database.service.report_queries import Texts

if TYPE_CHECKING:
    import pandas as pd

STRIP_PARTS = 60
"""Parts of the catalogue in the picture of coverage, at most."""

MOST_SHARED = 8
"""Texts listed that most songs share, of each kind."""

RATE_POINTS = 60
"""Bars in the picture of throughput, at most."""

AFTER_A_RUN = timedelta(seconds=5)
"""How long after its last request rows of a run may be inserted."""

_RATE_WIDTHS = (1, 5, 15, 60, 360, 1440, 10080)
"""Minutes of time in one bar."""


def coverage_of(
    counts: Sequence[RangeCount], whole: tuple[int, int] | None, uncounted: int, lacking_shown: int = 10
) -> Coverage:
    """Coverage from counts per range, in order, and of the whole catalogue where that could be counted."""
    import pandas as pd

    frame = pd.DataFrame(
        {"songs": [c.songs for c in counts], "with_row": [c.with_row for c in counts]}, dtype="int64"
    )
    lacks = frame["songs"] - frame["with_row"]
    most = lacks[lacks > 0].sort_values(ascending=False, kind="stable").head(lacking_shown)
    in_ranges, with_row = int(frame["songs"].sum()), int(frame["with_row"].sum())
    part = frame.index * min(STRIP_PARTS, len(frame)) // max(len(frame), 1)
    sums = frame.groupby(part).sum()
    first = pd.Series(frame.index).groupby(part).min()
    last = pd.Series(frame.index).groupby(part).max()
    return Coverage(
        songs=in_ranges if whole is None else whole[0],
        with_row=with_row if whole is None else whole[1],
        is_whole=whole is not None,
        ranges=len(counts) + uncounted,
        complete=int((lacks == 0).sum()),
        uncounted=uncounted,
        in_ranges=in_ranges,
        parts=[
            Part(counts[a].key, counts[b].key, int(songs), int(rows))
            for a, b, songs, rows in zip(first, last, sums["songs"], sums["with_row"], strict=True)
        ],
        lacking=[counts[int(place)] for place in most.index],
    )


def confidences_of(texts: Sequence[Texts], kind: str) -> dict[str, int]:
    """How many texts of a kind have which confidence; OTHER only where there are any."""
    found = dict.fromkeys(CONFIDENCES, 0)
    for each in texts:
        if each.kind == kind:
            level = each.confidence if each.confidence in CONFIDENCES else OTHER
            found[level] = found.get(level, 0) + len(each.lengths)
    return found


def lengths_of(texts: Sequence[Texts], kind: str) -> Lengths | None:
    """The distribution of lengths of a kind; None where there is no text."""
    import numpy as np

    parts = [each.lengths for each in texts if each.kind == kind]
    lengths = np.concatenate(parts) if parts else np.array([], dtype=np.int32)
    if not len(lengths):
        return None
    median, most = (int(x) for x in np.quantile(lengths, [0.5, 0.95], method="inverted_cdf"))
    places = np.where(lengths > LIMIT, LIMIT // BIN + 1, lengths // BIN)
    bars = np.bincount(places, minlength=LIMIT // BIN + 2)
    return Lengths(
        texts=len(lengths),
        shortest=int(lengths.min()),
        median=median,
        most=most,
        longest=int(lengths.max()),
        over_limit=int((lengths > LIMIT).sum()),
        bars=[int(bar) for bar in bars],
    )


@dataclass(frozen=True, slots=True)
class SharedHash:
    """A hash that several texts of one kind have, and in which of the lists it was seen first."""

    hash: int
    songs: int
    first_seen_in: int


def shared_hashes(texts_by_range: Sequence[Sequence[Texts]], kind: str) -> tuple[int, int, list[SharedHash]]:
    """Of the texts of a kind: how many are shared, by how many songs in all, and the most shared ones."""
    import numpy as np
    import pandas as pd

    pairs = [
        (place, each.hashes)
        for place, texts in enumerate(texts_by_range)
        for each in texts
        if each.kind == kind
    ]
    if not pairs:
        return 0, 0, []
    frame = pd.DataFrame(
        {
            "hash": np.concatenate([hashes for _, hashes in pairs]),
            "place": np.concatenate([np.full(len(hashes), place) for place, hashes in pairs]),
        }
    )
    counts = frame["hash"].value_counts()
    shared = counts[counts > 1]
    if shared.empty:
        return 0, 0, []
    # Equal counts in the order of hashes, so that the report does not depend on the order of rows.
    by_count = sorted(zip(shared.index, shared, strict=True), key=lambda pair: (-pair[1], pair[0]))
    most = by_count[:MOST_SHARED]
    among = frame[frame["hash"].isin([found for found, _ in most])]
    first = among.groupby("hash")["place"].min()
    return (
        len(shared),
        int(shared.sum()),
        [SharedHash(int(found), int(songs), int(first[found])) for found, songs in most],
    )


def throughput_of(
    rows_by_second: Mapping[datetime, int], runs: Sequence[RunSpending], *, is_everything: bool
) -> Throughput:
    """Throughput from when rows were created; is_everything: whether these are all new rows."""
    import pandas as pd

    series = pd.Series(rows_by_second, dtype="int64")
    if series.empty:
        return Throughput(None, 0, 1, [], 0, 0.0, [RunRate(run, None, is_alone=False) for run in runs])
    times = pd.DatetimeIndex(pd.to_datetime(series.index, utc=True))
    series = pd.Series(series.to_numpy(), index=times).sort_index()
    per_minute = series.groupby(times.sort_values().floor("min")).sum()
    span = (per_minute.index[-1] - per_minute.index[0]).total_seconds() / 60 + 1
    width = next((w for w in _RATE_WIDTHS if span / w <= RATE_POINTS - 1), _RATE_WIDTHS[-1])
    bars = per_minute.resample(f"{width}min", origin="epoch").sum()[-RATE_POINTS:]
    return Throughput(
        start=bars.index[0].to_pydatetime(),
        rows=int(per_minute.sum()),
        minutes_per_bar=width,
        bars=[int(bar) for bar in bars],
        busy_minutes=len(per_minute),
        busy_per_hour=float(per_minute.mean() * 60),
        runs=[
            RunRate(
                run,
                _rows_of(series, run) if is_everything else None,
                is_alone=not any(_overlap(run, other) for other in runs if other is not run),
            )
            for run in runs
        ],
    )


def _rows_of(by_second: pd.Series[int], run: RunSpending) -> int:
    began, ended = run.began.astimezone(UTC).replace(microsecond=0), run.ended.astimezone(UTC) + AFTER_A_RUN
    return int(by_second[(by_second.index >= began) & (by_second.index <= ended)].sum())


def _overlap(one: RunSpending, other: RunSpending) -> bool:
    return one.began <= other.ended + AFTER_A_RUN and other.began <= one.ended + AFTER_A_RUN

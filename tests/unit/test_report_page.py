"""The page and the pictures of the readiness report: whatever the texts are, they stay text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

from hypothesis import example, given, settings
from hypothesis import strategies as st

from aboutness_assets.acceptance.report_content import (
    Failures,
    KindOfText,
    RangeCount,
    ReadinessReport,
    RowsRead,
    Shared,
    SharedText,
    Spent,
)
from aboutness_assets.acceptance.report_figures import coverage_of, lengths_of, throughput_of
from aboutness_assets.acceptance.telling_sample import Chosen, TextRow
from aboutness_assets.database.operations.failed_songs import FailedSongRecord
from aboutness_assets.database.operations.spending_report import RunSpending, SpendingLine
from aboutness_assets.database.service.report_queries import Texts
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.orchestration.pictures import MARKDOWN_CHARACTERS
from aboutness_assets.orchestration.report_html import CheckSeen, report_html
from aboutness_assets.orchestration.report_metadata import report_metadata
from tests.support.hostile_words import HOSTILE_WORDS

NOW = datetime(2026, 11, 30, tzinfo=UTC)

TAGS = (
    "html head meta title style body header main footer section div b span h1 h2 h3 p figure figcaption small"
    " svg desc g rect table thead tbody tr th td bdi i article"
)
OUR_TAGS = {*TAGS.split(" ")}


def report_of(words: str, lengths: Sequence[int], counts: Sequence[tuple[int, int]]) -> ReadinessReport:
    """A report in which every text from outside is ``words``. counts: songs and rows per range."""
    import numpy as np

    texts = [
        Texts(kind, "low", np.array(lengths, dtype=np.int32), np.array(lengths, dtype=np.int64))
        for kind in ("emotions", "moments")
    ]
    row = TextRow(words, words, words, words, words, words, words)
    failed = FailedSongRecord(words, "refused", words, 1, False, words, words, [], NOW)
    by_second = {NOW + timedelta(seconds=37 * n * n): 1 + length for n, length in enumerate(lengths)}
    return ReadinessReport(
        made_at=NOW,
        coverage=coverage_of(
            [RangeCount(f"{n:09}-{n:09}", songs, rows) for n, (songs, rows) in enumerate(counts)], None, 0
        ),
        rows=None,
        old_style_recorded=None,
        read=RowsRead(len(counts), len(counts), len(lengths), 0),
        texts={
            kind: KindOfText(
                {"low": len(lengths), "medium": 0, "high": 7, "other": 1},
                lengths_of(texts, kind),
                Shared(1, 2, [SharedText(words, 2)]),
            )
            for kind in ("emotions", "moments")
        },
        failures=Failures({"refused": 1}, 0, [failed]),
        spent=Spent([SpendingLine("chat", "billed", 1, 0.1, 0.2, 0)], (0.1, 0.2, 0.3), words),
        throughput=throughput_of(by_second, [RunSpending(words, NOW, NOW, 1, 0.1)], is_everything=True),
        sample=[Chosen(row, "random")],
    )


class Page(HTMLParser):
    """The tags and the text of a page, as a browser's parser splits them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


counts = st.lists(
    st.integers(0, 5000).flatmap(lambda songs: st.tuples(st.just(songs), st.integers(0, songs))), max_size=200
)
lengths = st.lists(st.integers(0, 130), max_size=40)


@settings(max_examples=40)
@given(st.one_of(st.sampled_from(HOSTILE_WORDS), st.text(max_size=60)), lengths, counts)
@example("</style></title><script>alert(1)</script>", [], [])
@example("x", [100, 101, 3], [(1000, 1000)] * 60)
def test_every_word_from_outside_stays_text(
    words: str, lengths: list[int], counts: list[tuple[int, int]]
) -> None:
    report = report_of(words, lengths, counts)
    html = report_html(report, [CheckSeen("ready_to_enable", words, True, NOW)])
    html.encode()
    page = Page(html)
    assert page.tags <= OUR_TAGS
    assert not {name for name in page.attributes if name.startswith("on") or name in {"src", "href", "style"}}
    assert printable_line(words) in page.text
    assert "READY" in page.text
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        assert ElementTree.fromstring(svg)[0].tag == "{http://www.w3.org/2000/svg}title"


@settings(max_examples=60)
@given(lengths, counts)
@example([100 - n % 90 for n in range(400)], [(1000, 999)] * 114)
@example([*range(131)] * 3, [(999, n * 11) for n in range(60)])
def test_pictures_are_well_formed_and_short_enough_to_be_inline(
    lengths: list[int], counts: list[tuple[int, int]]
) -> None:
    metadata = report_metadata(report_of("words", lengths, counts))
    for name in ("coverage_by_range", "confidence", "emotions_lengths", "moments_lengths", "rows_over_time"):
        markdown = str(metadata[name].value)
        assert len(markdown) < MARKDOWN_CHARACTERS
        for url in re.findall(r"!\[[^\]]*\]\(data:image/svg\+xml,([^)\s]*)\)", markdown):
            ElementTree.fromstring(unquote(url))

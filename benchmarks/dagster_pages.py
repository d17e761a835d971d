"""How long Dagster's pages of song_aboutness take in Chromium, from the address or click to the numbers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, expect

from tests.support.browser import open_page

TURNS = 5
PAGE_MILLISECONDS = 120_000


@dataclass(frozen=True, slots=True)
class Pages:
    """Median seconds after a first visit.

    overview: until the asset's page shows its latest materialization. partitions: until the tab Partitions
    says how many are materialized. dialog: from the click on "Materialize…" until all partitions are selected
    and the backfill can be launched.
    """

    overview: float
    partitions: float
    dialog: float


def measure_pages(url: str, keys: list[str]) -> Pages:
    """The asset's pages of a webserver where every key is materialized, the last one last."""
    # The UI groups digits in some numbers only.
    partitions = f"{len(keys):,} partitions"
    with open_page() as page:
        expect.set_options(timeout=PAGE_MILLISECONDS)
        page.set_default_timeout(PAGE_MILLISECONDS)

        def overview() -> None:
            page.goto(f"{url}/assets/song_aboutness")
            expect(page.get_by_text(keys[-1], exact=True).first).to_be_visible()

        def tab() -> None:
            page.goto(f"{url}/assets/song_aboutness?view=partitions")
            expect(page.get_by_text(f"Materialized ({len(keys)})")).to_be_visible()

        def dialog() -> None:
            page.get_by_role("button", name="Materialize…").click()
            opened = page.get_by_role("dialog")
            opened.get_by_role("button", name="All", exact=True).click()
            expect(opened.get_by_text(partitions, exact=True)).to_be_visible()
            expect(opened.get_by_role("button", name="Launch backfill")).to_be_enabled()

        return Pages(_median(overview), _median(tab), _median(dialog, lambda: _close_dialog(page)))


def _close_dialog(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def _median(show: Callable[[], None], hide: Callable[[], None] = lambda: None) -> float:
    seconds = []
    for _ in range(1 + TURNS):
        began = time.perf_counter()
        show()
        seconds.append(time.perf_counter() - began)
        hide()
    return statistics.median(seconds[1:])

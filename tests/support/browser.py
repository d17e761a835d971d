"""A person at a browser who follows the runbook: what is pressed and seen, how long it takes, pictures."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from re import Pattern

from PIL import Image
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTH, HEIGHT = 1500, 900

UI_MILLISECONDS = 60_000
"""For the page to show what it was asked for."""

RUN_MILLISECONDS = 240_000
"""For a run or a backfill to end; the backfill daemon looks every 30 s."""

RELOAD_MILLISECONDS = 60_000
"""After so long a person reloads a page that should have changed."""

LOST_CLICK_MILLISECONDS = 10_000
"""After so long a person presses again what did nothing."""

CLICKS_AT_MOST = 3

LINES_QUOTED = 80
"""Of Dagster's log, where a step fails."""


@contextmanager
def open_page() -> Iterator[Page]:
    """An empty page of a fresh browser."""
    expect.set_options(timeout=UI_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(UI_MILLISECONDS)
        yield page
        browser.close()


class Person:
    """Presses and reads what the runbook names, in its order.

    start: where each step starts. runbook: for each step the words that stand in bold. tell: hears of each
    step that was done. pictures: where pictures go. scratch: where a picture of a failure goes. server_log:
    what Dagster printed, whose end a failure quotes.
    """

    def __init__(
        self,
        page: Page,
        start: str,
        runbook: Mapping[str, Sequence[str]],
        tell: Callable[..., None],
        pictures: Path,
        scratch: Path,
        server_log: Path,
    ) -> None:
        self.page = page
        self._start = start
        self._runbook = runbook
        self._tell = tell
        self._pictures = pictures
        self._scratch = scratch
        self._server_log = server_log
        self._words: list[str] = []
        self._clicks = 0
        self.done: set[str] = set()
        self.taken: set[str] = set()

    @contextmanager
    def step(self, heading: str) -> Iterator[None]:
        """Do a step: what is pressed and seen in it must be what the runbook names, no more and no less."""
        self.page.goto(self._start)
        self._words, self._clicks, began = [], 0, time.monotonic()
        try:
            yield
        except BaseException as failure:
            done = " → ".join(self._words)
            failure.add_note(f"In the step {heading!r} of the runbook, after {done or 'its start'}.")
            lines = self._server_log.read_text().splitlines()[-LINES_QUOTED:]
            failure.add_note("\n".join(["Dagster printed last:", *(line[:200] for line in lines)]))
            self._take(self._scratch / "failed.png")
            raise
        assert self._words == list(self._runbook[heading]), (
            f"The runbook's step {heading!r} names other words."
        )
        self.done.add(heading)
        self._tell(step=heading, clicks=self._clicks, seconds=round(time.monotonic() - began, 1))

    def press(self, words: str, where: Locator | None = None) -> None:
        """Click on a button, tab or link that bears these words."""
        self._words.append(words)
        self._clicks += 1
        self._bearing(words, where).click()

    def press_until(self, words: str, where: Locator, expected: Callable[[], None]) -> None:
        """Press, and again where the page swallowed the click because it was just being drawn anew."""
        self._words.append(words)
        self._clicks += 1
        for _ in range(CLICKS_AT_MOST):
            with suppress(AssertionError, PlaywrightError):
                where.click(timeout=LOST_CLICK_MILLISECONDS)
                expected()
                return

    def press_arrow(self, where: Locator) -> None:
        """Click on what bears no words."""
        self._clicks += 1
        where.click()

    def read(self, words: str, where: Locator | None = None, *, milliseconds: int = UI_MILLISECONDS) -> None:
        """Wait until these words are seen."""
        self._words.append(words)
        expect(self._bearing(words, where)).to_be_visible(timeout=milliseconds)

    def read_eventually(self, words: str) -> None:
        """Wait until these words are seen for a run or a backfill, and reload a page that stands still."""
        self._words.append(words)
        seen = self._bearing(words, None)
        for _ in range(RUN_MILLISECONDS // RELOAD_MILLISECONDS):
            with suppress(AssertionError):
                expect(seen).to_be_visible(timeout=RELOAD_MILLISECONDS)
                return
            self.page.reload()
        expect(seen).to_be_visible()

    def show(self, name: str) -> Locator:
        """Open the table that a run's log, or an asset, keeps under this name."""
        self._words.append(name)
        row = self.page.get_by_role("row", name=re.compile(rf"^{name}\b")).last
        dialog = self.page.get_by_role("dialog")
        self.press_until(
            "[Show Markdown]",
            row.get_by_text("[Show Markdown]"),
            lambda: expect(dialog).to_be_visible(timeout=LOST_CLICK_MILLISECONDS),
        )
        return dialog

    def close(self) -> None:
        """Close a dialog as every dialog is closed."""
        self.page.keyboard.press("Escape")
        expect(self.page.get_by_role("dialog")).to_have_count(0)

    def picture(self, name: str) -> None:
        """Take a picture for the docs of what is seen."""
        self.page.wait_for_load_state("networkidle")
        self._take(self._pictures / name)
        self.taken.add(name)

    def _take(self, path: Path) -> None:
        taken = Image.open(io.BytesIO(self.page.screenshot(animations="disabled")))
        taken.convert("RGB").quantize(256).save(path, optimize=True)  # a third of the bytes

    def _bearing(self, words: str, where: Locator | None) -> Locator:
        if where is not None:
            return where
        # Icons are part of a button's name, as in "play_circle Execute".
        name: Pattern[str] = re.compile(rf"^(?:[a-z_]+ )?{re.escape(words)}$")
        page = self.page
        named = page.get_by_role("button", name=name).or_(page.get_by_role("tab", name=name))
        return named.or_(page.get_by_text(words, exact=True)).first

"""The UI in a real browser, used as a person uses it; screenshots go to the test's tmp_path."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from aboutness_local.postgres import EmbeddedPostgres
from tests.support.catalogue_of_songs import Song, real_songs, write_row
from tests.support.dagster_project import CHECKS, DagsterDev, DagsterProject, poll
from tests.support.service_database import drop_service, make_service
from tests.support.stand_in import StandIn

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

RANGES = ("000000001-000000050", "000000051-000000100")
HOSTILE_TITLES = (
    """<img src=x onerror="document.title='hit'"><b>bold</b>""",
    "**bold** _slanted_ [link](javascript:alert(1))",
    "a | b | `code` ~~gone~~",
    "# Heading",
    "![picture](http://127.0.0.1:1/x.png) https://example.com www.example.org &lt;i&gt;",
)

UI_MILLISECONDS = 20_000
BACKFILL_MILLISECONDS = 120_000
"""The backfill daemon looks every 30 s."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed.")


@pytest.fixture(scope="module")
def dev(
    postgres_server: EmbeddedPostgres,
    stand_in_of_session: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DagsterDev]:
    """``dagster dev`` over two ranges, the first with hostile titles only."""
    stand_in_of_session.reset()
    hostile: list[Song] = [
        (song_id, title, 'Some "Artist" | <u>x</u>') for song_id, title in enumerate(HOSTILE_TITLES, start=1)
    ]
    songs = [*hostile, *real_songs(10, range(51, 61))]
    service = make_service(postgres_server, songs=songs)
    project = DagsterProject.create(
        tmp_path_factory.mktemp("ui") / "home", service, stand_in_of_session, ABOUTNESS_RANGE_SIZE="50"
    )
    with project.dev() as running:
        poll(lambda: set(project.ranges()) == set(RANGES), 60, "the sensor to create the partitions")
        yield running
    project.assert_no_secret_kept()
    drop_service(postgres_server, service)


@pytest.fixture
def page() -> Iterator[Page]:
    """An empty page of a fresh browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(UI_MILLISECONDS)
        yield page
        browser.close()


def test_a_person_launches_a_backfill_of_all_partitions_and_reads_its_results(
    dev: DagsterDev, page: Page, tmp_path: Path
) -> None:
    page.goto(f"{dev.url}/assets/song_aboutness")
    page.get_by_role("tab", name="Partitions").click()
    expect(page.get_by_text("Missing (2)")).to_be_visible(timeout=UI_MILLISECONDS)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.screenshot(path=tmp_path / "1 partitions.png")

    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    expect(dialog.get_by_text("2 partitions")).to_be_visible()
    page.screenshot(path=tmp_path / "2 dialog.png")
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Created backfill")).to_be_visible()
    expect(page.get_by_text("Materialized (2)")).to_be_visible(timeout=BACKFILL_MILLISECONDS)

    page.get_by_text(RANGES[0]).first.click()
    expect(page.get_by_role("row", name=re.compile(r"songs_written\s+5"))).to_be_visible()
    page.screenshot(path=tmp_path / "3 metadata.png")
    page.get_by_role("row", name=re.compile("sample")).get_by_text("[Show Markdown]").click()
    sample = page.get_by_role("dialog")
    for title in HOSTILE_TITLES:
        assert title in sample.inner_text().replace("\u2060", "")
    assert sample.locator("td img, td a, td b, td strong, td em, td del, td code, td u, h1").count() == 0
    assert page.title() != "hit"
    page.screenshot(path=tmp_path / "4 sample.png")
    page.get_by_role("button", name="Close").click()

    counted = {"songs": 15, "song_aboutness": 15}
    poll(lambda: dev.project.observed_rows() == counted, 60, "the rows to be counted after the checks")
    page.goto(f"{dev.url}/assets/song_aboutness")
    expect(page.get_by_text("15", exact=True).first).to_be_visible(timeout=UI_MILLISECONDS)
    expect(page.get_by_text("vector(8)", exact=True).first).to_be_visible(timeout=UI_MILLISECONDS)
    page.screenshot(path=tmp_path / "5 card.png")
    page.get_by_role("link", name="preflight", exact=True).click()
    expect(page).to_have_url(re.compile("/jobs/aboutness_preflight$"), timeout=UI_MILLISECONDS)


def test_a_person_executes_all_checks_and_then_one_alone(dev: DagsterDev, page: Page, tmp_path: Path) -> None:
    violated = "moments_text_within_100_chars"
    write_row(dev.project, 99, "a text")
    dev.project.sql("update song_aboutness set moments_text = repeat('x', 101) where song_id = 99")
    page.goto(f"{dev.url}/assets/song_aboutness")
    page.get_by_role("tab", name="Checks").click()
    page.get_by_role("button", name="Execute all").click()
    poll(lambda: len(dev.project.checks()) == len(CHECKS), 60, "the checks to be executed")
    poll(lambda: not dev.project.checks()[violated], 60, "the violation to be seen")
    page.goto(f"{dev.url}/assets/song_aboutness?view=checks&checkDetail={violated}")
    expect(page.get_by_text("1 new rows violate it.")).to_be_visible()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    page.screenshot(path=tmp_path / "1 failed.png")

    dev.project.sql("delete from song_aboutness where song_id = 99")
    page.get_by_role("button", name=re.compile("Execute$")).click()
    poll(lambda: dev.project.checks()[violated], 60, "the check to be executed")
    page.reload()
    expect(page.get_by_text("No new row violates it.")).to_be_visible()
    page.screenshot(path=tmp_path / "2 passed.png")

"""The UI in a real browser, used as the runbook of docs/operating.md tells a person to use it.

``--pictures docs/pictures`` makes the pictures of the docs, ``--ui-results FILE`` tells how many clicks and
seconds each step took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import expect

from aboutness_local.postgres import EmbeddedPostgres
from tests.support import runbook
from tests.support.browser import (
    CHROMIUM,
    LOST_CLICK_MILLISECONDS,
    RUN_MILLISECONDS,
    UI_MILLISECONDS,
    Person,
    open_page,
)
from tests.support.catalogue_of_songs import Song, real_songs
from tests.support.dagster_project import DagsterDev, DagsterProject, poll
from tests.support.service_database import drop_service, make_service
from tests.support.stand_in import StandIn

HOSTILE_TITLES = (
    """<img src=x onerror="document.title='hit'"><b>bold</b>""",
    "**bold** _slanted_ [link](javascript:alert(1))",
    "a | b | `code` ~~gone~~",
    "# Heading",
    "![picture](http://127.0.0.1:1/x.png) https://example.com www.example.org &lt;i&gt;",
)
REAL_SONGS, RANGE_SIZE = 220, 20
RANGE = "000000201-000000220"
"""Whose metadata a picture shows."""
HOSTILE_RANGE = "000000221-000000240"
"""Whose songs have hostile titles; the canary does not choose it."""
RANGES = 12

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed."),
    pytest.mark.timeout(1500),
]


@pytest.fixture
def dev(postgres_server: EmbeddedPostgres, stand_in: StandIn, tmp_path: Path) -> Iterator[DagsterDev]:
    """``dagster dev`` over twelve ranges, filled one request at a time."""
    hostile: list[Song] = [
        (song_id, title, 'Some "Artist" | <u>x</u>')
        for song_id, title in enumerate(HOSTILE_TITLES, start=REAL_SONGS + 1)
    ]
    service = make_service(postgres_server, songs=[*real_songs(REAL_SONGS), *hostile])
    project = DagsterProject.create(
        tmp_path / "home",
        service,
        stand_in,
        ABOUTNESS_RANGE_SIZE=str(RANGE_SIZE),
        ABOUTNESS_MAX_IN_FLIGHT="1",
        ABOUTNESS_REQUEST_TIMEOUT="600",
        ABOUTNESS_MAX_USD="2",
    )
    with project.dev() as running:
        poll(lambda: len(project.ranges()) == RANGES, 60, "the sensor to create the partitions")
        yield running
    project.assert_no_secret_kept()
    drop_service(postgres_server, service)


@pytest.fixture
def person(
    dev: DagsterDev, ui_result: Callable[..., None], pictures: Path | None, tmp_path: Path
) -> Iterator[Person]:
    """A person at an empty page; pictures go to the test's tmp_path unless --pictures is given."""
    with open_page() as page:
        start = f"{dev.url}/assets/song_aboutness"
        log = dev.project.home / "dev.log"
        yield Person(page, start, runbook.steps(), ui_result, pictures or tmp_path, tmp_path, log)


def test_a_person_follows_the_runbook(
    dev: DagsterDev, person: Person, stand_in: StandIn, tmp_path: Path
) -> None:
    project, page = dev.project, person.page

    with person.step("1 Preflight"):
        _launch(person, "preflight")
        expect(person.show("preflight")).to_contain_text("225 without a row, counted")
        person.close()

    with person.step("A wrong key"):
        stand_in.control({"chat": {"probabilities": {"http_401": 1}}})
        _launch(person, "smoke", ends="Failure")
        expect(page.get_by_text("OPENAI_API_KEY").first).to_be_visible(timeout=UI_MILLISECONDS)
        assert project.sql("select count(*) from song_aboutness") == [(0,)]
        stand_in.control({})

    with person.step("2 Smoke run"):
        _launch(person, "smoke")
        expect(person.show("acceptance")).to_contain_text("every song has a row")
        person.close()

    with person.step("3 Canary"):
        _launch(person, "canary")
        expect(person.show("what_is_left")).to_contain_text("115 without a row, counted")
        person.picture("canary.png")
        person.close()

    # So long takes one pack; all of them take two minutes, which is enough to see two pictures.
    stand_in.control({"latency_seconds": {"chat": 10}})
    with person.step("4 Backfill"):
        _open_partitions(person)
        person.press("All", page.get_by_role("dialog").get_by_role("button", name="All", exact=True))
        expect(page.get_by_role("dialog").get_by_text(f"{RANGES} partitions", exact=True)).to_be_visible()
        person.picture("launch.png")
        person.press("Launch backfill")
        expect(page.get_by_role("dialog")).to_have_count(0)
        person.press("Overview", page.get_by_role("tab", name="Overview"))
        person.press("backfill_progress")
        row = page.get_by_role("row").filter(has=page.get_by_text("progress", exact=True))
        person.read("progress", row)
        _watch_the_picture_change(person)
        page.get_by_text("Metadata", exact=True).first.evaluate("heading => heading.scrollIntoView()")
        person.picture("progress.png")
        # Nothing is answered any more, so the backfill cannot end before it is canceled.
        stand_in.control({"chat": {"probabilities": {"hang": 1}}})

    with person.step("Cancel"):
        person.press("Runs")
        person.read("View")
        person.press_arrow(
            page.get_by_text("View", exact=True)
            .first.locator("xpath=ancestor::*[3]")
            .get_by_role("button")
            .last
        )
        person.press("Cancel backfill", page.get_by_role("menuitem", name="Cancel backfill"))
        dialog = page.get_by_role("dialog").filter(has_text="In progress runs")
        cancel = dialog.get_by_role("button", name="Cancel backfill")
        person.press_until(
            "Cancel backfill",
            cancel,
            lambda: expect(cancel).to_have_count(0, timeout=LOST_CLICK_MILLISECONDS),
        )
        person.read_eventually("Canceled")

    stand_in.control({})
    with person.step("Continue"):
        _open_partitions(person)
        person.press("Failed and missing")
        person.press("Launch backfill")
        person.read("Missing (0)", milliseconds=RUN_MILLISECONDS)
        person.read("Materializing (0)", milliseconds=RUN_MILLISECONDS)
        page.get_by_text(RANGE).first.click()
        page.get_by_text("songs_written").first.scroll_into_view_if_needed()
        person.picture("partitions.png")
    _assert_that_titles_do_not_render(person)

    with person.step("5 Checks"):
        person.press("Checks")
        person.press("Execute all")

    counted = dict.fromkeys(("songs", "song_aboutness"), REAL_SONGS + len(HOSTILE_TITLES))
    poll(lambda: project.observed_rows() == counted, 120, "the rows to be counted after the checks")

    with person.step("6 Flag"):
        expect(page.get_by_text(str(counted["songs"]), exact=True).first).to_be_visible()
        expect(page.get_by_text("vector(8)", exact=True).first).to_be_visible()
        person.press("ready_to_enable")
        person.read("READY", page.get_by_alt_text("READY", exact=True), milliseconds=RUN_MILLISECONDS)
        person.picture("ready.png")

    with person.step("A violation"):
        project.sql("update song_aboutness set emotions_confidence = null where song_id = 7")
        person.press("Checks")
        person.press("Execute all")
        person.press("new_rows_complete")
        expect(page.get_by_text("1 new rows violate it.")).to_be_visible(timeout=RUN_MILLISECONDS)
        person.read("Failed")
        person.picture("violation.png")
        project.sql("update song_aboutness set emotions_confidence = 'low' where song_id = 7")
        person.press("Execute")
        expect(page.get_by_text("No new row violates it.")).to_be_visible(timeout=RUN_MILLISECONDS)
        person.read("Passed")

    with person.step("Report"):
        poll(lambda: _reported_songs(project) == REAL_SONGS + len(HOSTILE_TITLES), 120, "the report")
        person.press("readiness_report")
        with page.expect_download() as download:
            person.press("Download readiness_report.html")
        report = tmp_path / download.value.suggested_filename
        download.value.save_as(report)
    page.goto(report.as_uri())
    expect(page.get_by_role("heading").first).to_be_visible()
    person.picture("report.png")

    assert person.done == set(runbook.steps())
    assert person.taken == runbook.pictures()


def _launch(person: Person, step: str, ends: str = "Success") -> None:
    person.press(step)
    person.press("Launchpad")
    person.press("Launch Run")
    person.read(ends, milliseconds=RUN_MILLISECONDS)


def _open_partitions(person: Person) -> None:
    person.press("Partitions")
    person.press("Materialize…")


def _watch_the_picture_change(person: Person) -> None:
    """Reload the page until it has shown, after the canary's picture, one of fewer songs left than before."""
    page = person.page
    picture = page.locator("img[src^='data:image/svg+xml']").first
    left = page.get_by_role("row").filter(has=page.get_by_text("songs_left", exact=True))
    pictures: set[str | None] = set()
    counts: list[int] = []

    def is_shrinking() -> bool:
        page.reload()
        expect(picture).to_be_visible()
        if not left.count():  # they are being counted
            return False
        pictures.add(picture.get_attribute("src"))
        counts.append(int(left.inner_text().split()[-1]))
        return len(pictures) > 2 and 0 < counts[-1] < max(counts)

    poll(is_shrinking, 240, "the picture to change")


def _reported_songs(project: DagsterProject) -> object:
    """How many songs had a row when the latest readiness_report was made."""
    with project.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("readiness_report"))
    made = event and event.asset_materialization
    return made and made.metadata["songs_with_row"].value


def _assert_that_titles_do_not_render(person: Person) -> None:
    page = person.page
    page.get_by_text(HOSTILE_RANGE).first.click()
    page.get_by_role("row", name="sample").get_by_text("[Show Markdown]").click()
    sample = page.get_by_role("dialog")
    expect(sample.get_by_role("table")).to_be_visible()
    for title in HOSTILE_TITLES:
        assert title in sample.inner_text().replace("\u2060", "")
    assert sample.locator("td img, td a, td b, td strong, td em, td del, td code, td u, h1").count() == 0
    assert page.title() != "hit"
    person.close()

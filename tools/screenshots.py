"""Takes the pictures of docs/pictures from the UI: python -m tools.screenshots.

Sets up an embedded environment of its own, fills most partitions, and opens the asset's page in Chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
MODULE = "aboutness_assets.definitions"
SETTINGS = {"ABOUTNESS_RANGE_SIZE": "200"}
FIRST, LAST, SHOWN = "000000001-000000200", "000001401-000001600", "000000401-000000600"
"""The partitions that are filled, of twelve, and the one whose metadata the picture shows."""

WIDTH, HEIGHT = 1280, 800
SECONDS = 120
"""For dagster dev to start, and for the page to show what it should."""

STOP_SECONDS = 20
"""For dagster dev to stop its servers; what is left of them then is killed."""


def main() -> int:
    """Write every picture; returns the exit code."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("Chromium is needed: apt-get install chromium", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, **SETTINGS, "ABOUTNESS_LOCAL_DIR": f"{directory}/environment"}
        try:
            _job(environment, "sync_song_id_ranges", {})
            _job(
                environment,
                "song_aboutness_backfill",
                {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST},
            )
            with _dagster_dev(environment) as url, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                _partitions(page, url, PICTURES / "partitions.png")
                browser.close()
        finally:
            _local(environment, "reset")
    return 0


def _partitions(page: Page, url: str, picture: Path) -> None:
    """The tab Partitions with the metadata of one partition."""
    page.set_default_timeout(SECONDS * 1000)
    page.goto(f"{url}/assets/song_aboutness?view=partitions")
    page.get_by_text(SHOWN).first.click()
    page.get_by_text("songs_written").first.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=picture, animations="disabled")
    print(picture.relative_to(Path.cwd()) if picture.is_relative_to(Path.cwd()) else picture)


def _job(environment: Mapping[str, str], job: str, tags: Mapping[str, str]) -> None:
    _local(environment, "dagster", "job", "execute", "-m", MODULE, "-j", job, "--tags", json.dumps(tags))


def _local(environment: Mapping[str, str], *command: str) -> None:
    done = subprocess.run(
        [_script("aboutness-local"), *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


@contextmanager
def _dagster_dev(environment: Mapping[str, str]) -> Iterator[str]:
    """``dagster dev`` on a free port of loopback; yields its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [_script("aboutness-local"), "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), "-m", MODULE],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("dagster dev did not start.")
            time.sleep(0.5)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5):  # noqa: S310 - loopback
            return True
    except OSError:
        return False


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    sys.exit(main())

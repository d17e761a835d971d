"""The runbook's pictures; that its steps are what a person does, tests/acceptance/test_ui.py shows."""

from tests.support import runbook

PICTURES = runbook.ROOT / "docs" / "pictures"
LARGEST_BYTES = 150_000


def test_every_picture_is_shown_and_every_picture_shown_is_there() -> None:
    assert {picture.name for picture in PICTURES.iterdir()} == runbook.pictures()


def test_no_picture_is_large() -> None:
    assert [each.name for each in PICTURES.iterdir() if each.stat().st_size > LARGEST_BYTES] == []


def test_every_step_names_what_is_pressed_or_seen() -> None:
    steps = runbook.steps()
    assert [heading for heading in steps if heading[0].isdigit()] == [
        *("1 Preflight", "2 Smoke run", "3 Canary", "4 Backfill", "5 Checks", "6 Flag")
    ]
    assert all(steps.values())

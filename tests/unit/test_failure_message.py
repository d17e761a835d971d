"""The message about failed runs: what it says, and that nothing in it is markup of others."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.money.ledger import Spending
from aboutness_assets.orchestration.failure_message import (
    FAILURES_SHOWN,
    FailedRun,
    Standing,
    chat_text,
    failure_message,
)
from aboutness_assets.orchestration.sensors.failures_to_webhook import without_secrets
from aboutness_assets.orchestration.webhook import post_json
from tests.support.webhook_server import webhook_server

UI = "http://dagster.example:3000/"
STANDING = Standing(1234, "default", 5.0, Spending(0.25, 0.0, 0.0))
LEFT = "Songs without a row: 1,234. Spent: $0.2500 (budget default, cap $5)."


def failed(number: int = 1, sentence: str = "The key is invalid.", again: bool = False) -> FailedRun:
    return FailedRun(f"run-{number}", "song_aboutness_backfill", sentence, "1 to 2", again)


def test_one_failure_is_told_with_its_reason_a_link_and_where_the_backfill_stands() -> None:
    assert failure_message([failed()], STANDING, UI).splitlines() == [
        "song_aboutness_backfill failed (1 to 2): The key is invalid.",
        "http://dagster.example:3000/runs/run-1",
        LEFT,
    ]


def test_runs_that_failed_alike_are_told_together() -> None:
    runs = [failed(1), failed(2), failed(3, "It was killed.", again=True)]
    assert failure_message(runs, None, UI).splitlines() == [
        "2 runs of song_aboutness_backfill failed (1 to 2 and others): The key is invalid.",
        "http://dagster.example:3000/runs/run-1",
        "song_aboutness_backfill failed (1 to 2): It was killed. Dagster starts it again.",
        "http://dagster.example:3000/runs/run-3",
        "Songs left and dollars spent could not be counted.",
    ]


def test_very_many_different_failures_are_counted() -> None:
    runs = [failed(number, f"Reason {number}.") for number in range(FAILURES_SHOWN + 2)]
    lines = failure_message(runs, None, UI).splitlines()
    assert len(lines) == 2 * FAILURES_SHOWN + 2
    assert lines[-2] == "… and 2 other failures: http://dagster.example:3000/runs"


def test_what_may_have_been_billed_and_a_missing_cap_are_said() -> None:
    standing = Standing(0, "default", None, Spending(0.25, 0.01, 0.5))
    assert failure_message([failed()], standing, UI).endswith(
        "Songs without a row: 0. Spent: $0.2500, and up to $0.0100 that may have been billed "
        "(budget default, no cap)."
    )


@given(st.text(st.sampled_from("<>!@&|channelhttp://www. \n\x1b") | st.characters()))
def test_no_words_from_outside_call_anybody_or_make_a_link(words: str) -> None:
    shown = chat_text(words)
    assert not re.search(r"[<>\n]|@(?!\u2060)|https?:|www\.", shown, re.IGNORECASE)
    assert not re.search(r"&(?!amp;|lt;|gt;)", shown)


def test_slack_would_show_a_hostile_title_as_it_is() -> None:
    shown = chat_text("<!channel> <http://a.example|click> & @here")
    assert shown.replace("\u2060", "") == "&lt;!channel&gt; &lt;http://a.example|click&gt; &amp; @here"


def test_no_secret_of_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:open%20sesame@host/service")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    words = "postgresql://user:open%20sesame@host/service, open sesame, open%20sesame, sk-0123456789!"
    assert without_secrets(words) == "[secret], [secret], [secret], [secret]!"


@pytest.mark.parametrize(
    ("answers", "outcome", "posts"),
    [
        ([], "delivered", 1),
        ([503, 429], "delivered", 3),
        ([-1], "delivered", 2),
        ([500, 500, 500], "failed", 3),
        ([404], "refused", 1),
        ([302], "refused", 1),
    ],
)
def test_a_webhook_is_tried_again_only_where_that_may_help(
    answers: list[int], outcome: str, posts: int
) -> None:
    with webhook_server() as webhook:
        webhook.answers = answers
        delivery = post_json(webhook.url, {"text": "a failure"}, sleep=lambda _: None)
    assert delivery.outcome == outcome
    assert webhook.texts == ["a failure"] * posts
    assert "secret" not in delivery.detail


def test_a_webhook_that_is_away_is_said_without_its_address() -> None:
    with webhook_server() as webhook:
        pass
    delivery = post_json(webhook.url, {"text": "a failure"}, sleep=lambda _: None)
    assert (delivery.outcome, delivery.detail) == ("failed", "Connection refused")

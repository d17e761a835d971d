"""What a run says it is limited by is what its requests wait for."""

from dataclasses import replace

import pytest

from aboutness_assets.limits.throttle import Waiting
from aboutness_assets.pipeline.bottleneck import Bottleneck, per_minute
from aboutness_assets.pipeline.run_budget import RunBudget
from aboutness_assets.provider.load import Load

IDLE = Load(
    None,
    queued=0,
    in_flight=0,
    at_provider=0,
    before_limit=0,
    backing_off=0,
    trouble="",
    slots=64,
    is_set_by_hand=False,
    latency=0.0,
    stated_requests=None,
    stated_tokens=None,
)
TURN = Waiting(0.5, paused=False, requests_per_minute=59.1, tokens_per_minute=None)
FULL = replace(IDLE, queued=900, in_flight=64, at_provider=60, latency=4.06)


class Seen:
    """A run, as a bottleneck sees it."""

    def __init__(self, chat: Load = IDLE, embedding: Load = IDLE, *, callers: int = 0, own: int = 0) -> None:
        self.chat, self.embedding, self.callers, self.own = chat, embedding, callers, own
        self.budget, self.is_braked = RunBudget("spring", 5.0), False

    def words(self, late_seconds: float = 0.0, **limits: float) -> str | None:
        bottleneck = Bottleneck(
            lambda: self.chat,
            lambda: self.embedding,
            self.budget,
            lambda: (self.callers, 6),
            lambda: self.is_braked,
            lambda: self.own,
            **limits,
        )
        bottleneck.look(1.0, late_seconds)
        return None if bottleneck.limit is None else bottleneck.limit.words


def test_a_known_limit_is_named_although_a_little_of_it_is_left_unused() -> None:
    waits = Seen(replace(FULL, waiting=TURN))
    assert waits.words(requests_per_minute=60) == "60 requests per minute"
    assert Seen(replace(FULL, waiting=TURN, stated_requests=60)).words() == "60 requests per minute"
    assert waits.words() == "a pace of 59 requests per minute, as no limit is stated"


def test_tokens_are_named_where_they_set_the_pace() -> None:
    turn = replace(TURN, tokens_per_minute=197_000)
    assert Seen(replace(FULL, waiting=turn, stated_tokens=200_000)).words() == "200,000 tokens per minute"


def test_a_limit_that_is_not_reached_is_named_with_what_it_allows() -> None:
    assert per_minute("requests", 30, 500, 60) == "30 requests per minute, of the 60 allowed"
    assert per_minute("embedding tokens", 0.4, 0, None) == (
        "a pace of 0.4 embedding tokens per minute, as no limit is stated"
    )


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(replace(FULL, waiting=replace(TURN, paused=True))), "a pause after HTTP 429 to chat requests"),
        (Seen(FULL), "the provider's answers, 60 under way, 4.1 s each"),
        (
            Seen(replace(FULL, is_set_by_hand=True)),
            "the provider's answers, 60 under way at most (ABOUTNESS_MAX_IN_FLIGHT), 4.1 s each",
        ),
        (Seen(replace(FULL, at_provider=0, backing_off=64, trouble="HTTP 503")), "the provider: HTTP 503"),
        (Seen(replace(FULL, at_provider=9)), "our own Postgres"),
        (Seen(replace(IDLE, in_flight=4, at_provider=4), callers=9), "the service's Postgres"),
        (
            Seen(IDLE, replace(IDLE, in_flight=2, at_provider=2)),
            "the provider's vectors, 2 requests under way",
        ),
        (
            Seen(IDLE, replace(IDLE, waiting=TURN, stated_requests=60)),
            "60 embedding requests per minute",
        ),
        (Seen(callers=1), "the service's Postgres"),
        (Seen(own=1), "our own Postgres"),
        (Seen(), None),
    ],
)
def test_what_is_waited_for_is_named(seen: Seen, words: str | None) -> None:
    assert seen.words() == words


def test_the_cap_the_brake_and_the_processor_are_named() -> None:
    braked = Seen(replace(IDLE, in_flight=4, at_provider=4))
    braked.is_braked = True
    assert braked.words() == "the service's Postgres, which is slow now"
    capped = Seen(FULL)
    capped.budget.waiting_for_room = 1
    assert capped.words() == "the cap of $5"
    assert Seen(FULL).words(late_seconds=1.0) == "this process, which has no more time on its processor"


def test_what_an_endpoint_says_is_one_short_printable_line() -> None:
    trouble = "HTTP 500\n\x1b[31m" + "x" * 500
    words = Seen(replace(IDLE, in_flight=1, backing_off=1, trouble=trouble)).words()
    assert words is not None
    assert words.isprintable()
    assert len(words) < 90


def test_what_most_of_the_last_minute_went_to_counts_in_its_latest_words() -> None:
    seen = Seen(FULL)
    bottleneck = Bottleneck(
        lambda: seen.chat, lambda: IDLE, seen.budget, lambda: (0, 6), lambda: False, lambda: 0
    )
    for second in range(60):
        bottleneck.look(second)
    seen.chat = replace(FULL, waiting=TURN, stated_requests=60)
    for second in range(60, 85):
        bottleneck.look(second)
    assert bottleneck.limit is not None
    assert bottleneck.limit.place == "provider"
    for second in range(85, 95):
        bottleneck.look(second)
    assert bottleneck.limit.words == "60 requests per minute"

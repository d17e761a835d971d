"""What holds a run up: found out by looking, several times a second, at what its requests wait for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aboutness_assets.domain.printable import printable_line
from aboutness_assets.limits.throttle import Waiting
from aboutness_assets.pipeline.run_budget import RunBudget
from aboutness_assets.provider.load import Load

LOOKED_BACK_SECONDS = 60.0

SECONDS_BETWEEN_LOOKS = 0.25
"""A look reads a few attributes: some 20 microseconds."""

LONGEST_TROUBLE = 60
"""Characters that are told of what an endpoint answers."""

Place: TypeAlias = Literal[
    "cap",
    "pause",
    "requests",
    "tokens",
    "outage",
    "provider",
    "embedding",
    "service_postgres",
    "own_postgres",
    "processor",
]
"""Where the time goes."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a run waits for, and in words that follow "limited by"."""

    place: Place
    words: str


class Bottleneck:
    """What holds a run up, over the last minute.

    chat, embedding: the loads of both services now. service_connections: how many callers hold or wait for a
    connection to the service's Postgres now, and how many there are. is_braked: whether the run writes less
    because that one is slow. own_transactions: under way in our own Postgres. requests_per_minute,
    tokens_per_minute: limits that were set; 0: none.
    """

    def __init__(
        self,
        chat: Callable[[], Load],
        embedding: Callable[[], Load],
        budget: RunBudget,
        service_connections: Callable[[], tuple[int, int]],
        is_braked: Callable[[], bool],
        own_transactions: Callable[[], int],
        *,
        requests_per_minute: float = 0,
        tokens_per_minute: float = 0,
    ) -> None:
        self._chat = chat
        self._embedding = embedding
        self._budget = budget
        self._service_connections = service_connections
        self._is_braked = is_braked
        self._own_transactions = own_transactions
        self._limits_set = requests_per_minute, tokens_per_minute
        self._seen: deque[tuple[float, Limit]] = deque()

    def look(self, now: float, late_seconds: float = 0.0) -> None:
        """Look once. now: seconds on any clock; late_seconds: by how much the look came later than planned,
        which is how long the event loop had no time."""
        while self._seen and self._seen[0][0] < now - LOOKED_BACK_SECONDS:
            self._seen.popleft()
        if (limit := self._limit(late_seconds)) is not None:
            self._seen.append((now, limit))

    @property
    def limit(self) -> Limit | None:
        """What most looks of the last minute met, in the latest one's words; None where none met anything."""
        if not self._seen:
            return None
        [(place, _)] = Counter(limit.place for _, limit in self._seen).most_common(1)
        return next(limit for _, limit in reversed(self._seen) if limit.place == place)

    def _limit(self, late_seconds: float) -> Limit | None:
        chat = self._chat()
        if self._budget.waiting_for_room:
            return Limit("cap", f"the cap of ${self._budget.max_usd:g}")
        if chat.waiting is not None:
            return self._rate_limit(chat, chat.waiting)
        if late_seconds > SECONDS_BETWEEN_LOOKS:  # no time for more than half of it
            return Limit("processor", "this process, which has no more time on its processor")
        if chat.backing_off and chat.backing_off >= chat.in_flight:
            return _outage(chat)
        # Where requests queue for a slot, those in the slots hold the run up; else what comes after them may.
        if not chat.queued and (limit := self._after_the_texts()) is not None:
            return limit
        if chat.in_flight and chat.being_recorded > chat.at_provider:
            return Limit("own_postgres", "our own Postgres")
        if chat.at_provider:
            return _latency(chat)
        return self._what_is_under_way()

    def _after_the_texts(self) -> Limit | None:
        """What keeps texts from becoming rows, where something does."""
        embedding = self._embedding()
        callers, connections = self._service_connections()
        if self._is_braked():
            return Limit("service_postgres", "the service's Postgres, which is slow now")
        if callers > connections:
            return Limit("service_postgres", "the service's Postgres")
        if embedding.waiting is not None:
            return self._rate_limit(embedding, embedding.waiting, "embedding ")
        if embedding.backing_off and embedding.backing_off >= embedding.in_flight:
            return _outage(embedding)
        return None

    def _what_is_under_way(self) -> Limit | None:
        """What is waited for while no text is asked for."""
        embedding = self._embedding()
        if embedding.at_provider:
            return Limit("embedding", f"the provider's vectors, {embedding.at_provider} requests under way")
        if self._service_connections()[0]:
            return Limit("service_postgres", "the service's Postgres")
        return Limit("own_postgres", "our own Postgres") if self._own_transactions() else None

    def _rate_limit(self, load: Load, waiting: Waiting, kind: str = "") -> Limit:
        if waiting.paused:
            return Limit("pause", f"a pause after HTTP 429 to {kind or 'chat '}requests")
        set_requests, set_tokens = (0.0, 0.0) if kind else self._limits_set
        if waiting.tokens_per_minute is not None:
            words = per_minute(f"{kind}tokens", waiting.tokens_per_minute, set_tokens, load.stated_tokens)
            return Limit("tokens", words)
        words = per_minute(f"{kind}requests", waiting.requests_per_minute, set_requests, load.stated_requests)
        return Limit("requests", words)


def per_minute(things: str, pace: float, limit_set: float, limit_stated: float | None) -> str:
    """A limit of requests or tokens in words.

    pace: per minute, by which all processes go now; limit_set, limit_stated: by a setting (0: none) and by
    the provider's headers (None: not stated).
    """
    limits = [limit for limit in (limit_set, limit_stated) if limit]
    if not limits:
        return f"a pace of {_figure(pace)} {things} per minute, as no limit is stated"
    limit = min(limits)
    # The project uses 98.5 % of a limit, and less while somebody else uses the key or after a 429.
    if pace >= 0.9 * limit:
        return f"{_figure(limit)} {things} per minute"
    return f"{_figure(pace)} {things} per minute, of the {_figure(limit)} allowed"


def _latency(chat: Load) -> Limit:
    by_hand = " at most (ABOUTNESS_MAX_IN_FLIGHT)" if chat.is_set_by_hand and chat.queued else ""
    each = f", {chat.latency:.1f} s each" if chat.latency else ""
    return Limit("provider", f"the provider's answers, {chat.at_provider} under way{by_hand}{each}")


def _outage(load: Load) -> Limit:
    return Limit("outage", f"the provider: {printable_line(load.trouble)[:LONGEST_TROUBLE]}")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"

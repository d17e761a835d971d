"""Clients of a provider for unit tests: real connections, limits in memory, and attempts that remember."""

import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aboutness_assets.domain.chat import ChatAnswer, Usage
from aboutness_assets.limits.patience import Patience
from aboutness_assets.limits.throttle import Throttle
from aboutness_assets.provider.attempts import Attempts, Loss
from aboutness_assets.provider.capabilities import PATIENCE_SECONDS, Capabilities
from aboutness_assets.provider.capability_store import CapabilityStore
from aboutness_assets.provider.chat import ChatClient, ChatOptions
from aboutness_assets.provider.chat_form import chat_parts
from aboutness_assets.provider.embedder import Embedder
from aboutness_assets.provider.embeddings import EMBEDDING_PARTS, EmbeddingClient
from aboutness_assets.provider.form import Part
from aboutness_assets.provider.harmless import harmless_chat, harmless_embedding
from aboutness_assets.provider.retries import Retries
from aboutness_assets.provider.sender import Sender
from aboutness_assets.provider.services import chat_service, embedding_service
from aboutness_assets.provider.transport import Endpoint, Transport
from tests.support.memory_capability_store import MemoryCapabilityStore
from tests.support.memory_limit_store import MemoryLimitStore

KEY = "sk-verysecretkey123456"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": '{"songs":[]}'}]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "songs", "strict": True, "schema": {"type": "object"}},
}
HARMLESS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": '{"songs":["harmless"]}'}]
MAX_COMPLETION_TOKENS = 700

QUICK_RETRIES = Retries(backoff_seconds=0.001)
"""As many attempts as users get, without their waits."""

DEFAULT_OPTIONS = ChatOptions("none")


@dataclass(frozen=True)
class Sending:
    """An HTTP request was about to leave."""

    body_bytes: int
    max_completion_tokens: int | None


@dataclass(frozen=True)
class Answered:
    """It was answered."""

    body: bytes
    usage: Usage | None
    service_tier: str | None


@dataclass(frozen=True)
class Lost:
    """It was not answered."""

    loss: Loss
    usage: Usage | None = None


Outcome: TypeAlias = Answered | Lost


@dataclass
class RecordedAttempts:
    """Attempts that remember what they heard, in order; ``sending`` raises ``forbidden`` where it is set."""

    events: list[Sending | Outcome] = field(default_factory=list)
    forbidden: Exception | None = None

    async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
        if self.forbidden is not None:
            raise self.forbidden
        self.events.append(Sending(body_bytes, max_completion_tokens))

    async def answered(self, body: bytes, usage: Usage | None, service_tier: str | None) -> None:
        self.events.append(Answered(body, usage, service_tier))

    async def lost(self, loss: Loss, usage: Usage | None = None, service_tier: str | None = None) -> None:
        self.events.append(Lost(loss, usage))

    @property
    def sent(self) -> list[Sending]:
        """What was about to leave."""
        return [event for event in self.events if isinstance(event, Sending)]

    @property
    def outcomes(self) -> list[Outcome]:
        """How each request ended. Fails unless each sending is followed by exactly one outcome."""
        outcomes = self.events[1::2]
        assert self.events[::2] == self.sent, f"not one outcome per sending: {self.events}"
        assert len(outcomes) == len(self.sent), f"a sending without an outcome: {self.events}"
        return [outcome for outcome in outcomes if not isinstance(outcome, Sending)]

    @property
    def ends(self) -> list[str]:
        """``outcomes`` in short: 'answered' or the kind of loss."""
        return [outcome.loss if isinstance(outcome, Lost) else "answered" for outcome in self.outcomes]


@dataclass(frozen=True)
class Clients:
    """Both clients of one endpoint; ``attempts`` hears of every call that brings no attempts of its own."""

    chat_client: ChatClient
    embedding_client: EmbeddingClient
    attempts: RecordedAttempts
    chat_sender: Sender

    async def chat(
        self,
        messages: Sequence[dict[str, Any]] = MESSAGES,
        *,
        max_completion_tokens: int = MAX_COMPLETION_TOKENS,
        attempts: Attempts | None = None,
    ) -> ChatAnswer:
        """Some chat request."""
        return await self.chat_client.chat(
            messages, SCHEMA, max_completion_tokens, (15, 5), attempts or self.attempts
        )

    def embedder(
        self, dimension: int | None, store: CapabilityStore | None = None, **limits: int
    ) -> Embedder:
        """An embedder that has not checked its model yet; by default nothing is known of its endpoint."""
        store = store or MemoryCapabilityStore()
        return Embedder(self.embedding_client, dimension, store, logging.getLogger("test"), **limits)


def takes_all(parts: Sequence[Part]) -> MemoryCapabilityStore:
    """A store that knows of an endpoint that takes every part as wanted."""
    return MemoryCapabilityStore(facts={part.name: part.levels[0].name for part in parts})


def memory_throttle(
    *, requests_per_minute: float = 600_000, waits: tuple[float, ...] = (0.01, 0.02), **arguments: Any
) -> Throttle:
    """A throttle that shares its limits with nobody; waits: seconds after a 429 that names no time.

    The other arguments are Throttle's; its clock is the clock of the limits too.
    """
    clock = {"clock": arguments["clock"]} if "clock" in arguments else {}
    store = MemoryLimitStore(requests_per_minute=requests_per_minute, waits=waits, **clock)
    return Throttle(store, **arguments)


@asynccontextmanager
async def open_clients(
    base_url: str | None,
    *,
    api_key: str | None = KEY,
    timeout_seconds: float = 60,
    options: ChatOptions = DEFAULT_OPTIONS,
    chat_throttle: Throttle | None = None,
    embedding_throttle: Throttle | None = None,
    retries: Retries = QUICK_RETRIES,
    harmless: bool = False,
    give_up_seconds: float = math.inf,
    chat_store: CapabilityStore | None = None,
    embedding_store: CapabilityStore | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> AsyncIterator[Clients]:
    """Clients of the models gpt-test and embed-test at an endpoint; what they log is in the log "test".

    harmless: whether they try a harmless request where a refusal may be about all. Without stores both are
    known to take every part of a request, so that a refusal is about its content.
    """
    log = logging.getLogger("test")
    parts = chat_parts(options.reasoning_effort)
    async with Transport(Endpoint(api_key, base_url, timeout_seconds)) as transport:
        patience = Patience(give_up_seconds)
        chat = Sender(
            chat_service("gpt-test"),
            transport,
            chat_throttle or memory_throttle(),
            log,
            retries,
            harmless=harmless_chat(HARMLESS, SCHEMA) if harmless else None,
            patience=patience,
        )
        embedding = Sender(
            embedding_service("embed-test"),
            transport,
            embedding_throttle or memory_throttle(),
            log,
            retries,
            harmless=harmless_embedding if harmless else None,
            patience=patience,
        )
        yield Clients(
            ChatClient(
                chat,
                Capabilities(parts, chat_store or takes_all(parts), log, patience_seconds=patience_seconds),
                options,
                log,
            ),
            EmbeddingClient(
                embedding,
                Capabilities(EMBEDDING_PARTS, embedding_store or takes_all(EMBEDDING_PARTS), log),
            ),
            RecordedAttempts(),
            chat,
        )

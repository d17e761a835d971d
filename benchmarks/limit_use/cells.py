"""The cells of limit_use: which limits, how many processes, with headers or without."""

from dataclasses import dataclass
from typing import Any, Literal

PACK_SIZE = 10
CHAT_LATENCY = {"latency_median": 4.0, "latency_sigma": 0.5}
EMBEDDING_LATENCY = {"latency_median": 0.25, "latency_sigma": 0.5}

LEARNING_SECONDS = {True: 20, False: 120}
WINDOW_SECONDS = {True: 40, False: 150}
STARTS_AT = {True: 0.1, False: 1.0}
"""By whether there are headers. Without, the limit shows only in 429s, and a full bucket hides it at first.
With, a full one would hide for the whole time that more than the limit is sent, so it begins almost empty."""

PROMPT_TOKENS, COMPLETION_TOKENS = 980, 750
"""Of a pack of ten, as the endpoint counts them, on the average."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured at once. limits are a minute's; 0 = none."""

    name: str
    processes: int
    headers: bool
    requests_per_minute: int
    tokens_per_minute: int = 0
    counts: Literal["prompt", "usage"] = "usage"
    algorithm: Literal["bucket", "window"] = "bucket"
    other_users_share: float = 0.0
    limit_factors: tuple[float, ...] = (1.0,)
    """Of the limits, one phase after the other; each phase is learning and a window."""

    @property
    def seconds(self) -> int:
        """Of all phases."""
        return len(self.limit_factors) * (LEARNING_SECONDS[self.headers] + WINDOW_SECONDS[self.headers])

    @property
    def songs(self) -> int:
        """More than can be done in the time, a full bucket at the start included."""
        return int(self.requests_per_minute * (self.seconds / 60 + 1) * PACK_SIZE * 1.3)

    def control(self, factor: float) -> dict[str, dict[str, Any]]:
        """The endpoint's behaviour while the limits are so many times what they were."""
        both = {
            "headers": self.headers,
            "retry_after": self.headers,
            "algorithm": self.algorithm,
            "starts_at": STARTS_AT[self.headers],
            "requests_per_minute": self.requests_per_minute * factor,
        }
        chat = {
            **both,
            "tokens_per_minute": self.tokens_per_minute * factor,
            "counts": self.counts,
            "other_users_share": self.other_users_share,
        }
        return {
            "chat": {**CHAT_LATENCY, "limits": chat},
            "embeddings": {**EMBEDDING_LATENCY, "limits": both},
        }


def cells() -> list[Cell]:
    """Every cell, those without headers last."""
    tokens = 2_000 * (PROMPT_TOKENS + COMPLETION_TOKENS)
    found = [Cell(f"500-{n}-headers", n, True, 500) for n in (1, 2, 4)]
    found += [Cell(f"5000-{n}-headers", n, True, 5_000) for n in (1, 2, 4)]
    found += [
        Cell("30000-4-headers", 4, True, 30_000),
        Cell("tokens-2-headers", 2, True, 5_000, tokens),
        Cell("tokens-2-headers-prompt", 2, True, 5_000, 2_000 * PROMPT_TOKENS, counts="prompt"),
        Cell("5000-2-headers-shared", 2, True, 5_000, other_users_share=0.4),
        Cell("5000-2-headers-halved", 2, True, 5_000, limit_factors=(1.0, 0.5)),
        Cell("500-4-absent", 4, False, 500),
        Cell("5000-2-absent", 2, False, 5_000),
    ]
    return found

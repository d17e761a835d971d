"""How the endpoint behaves on one route."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Control:
    """One route's latency and limits; the defaults answer at once and limit nothing.

    latency_median, latency_sigma: of a lognormal distribution, median in seconds; 0 = at once. A 429 always
    comes at once.
    requests_per_minute, tokens_per_minute: 0 = no limit.
    algorithm: "bucket" holds burst_seconds' worth of the limit, at first starts_at of that (0 to 1), and
    refills evenly; "window" admits the limit in any 60 s.
    counts: the tokens of a request: "prompt" as OpenAI documents it (the larger of its length / 4 and the
    tokens that it allows the answer), "usage" = prompt and completion.
    headers: x-ratelimit-* on every answer. retry_after: retry-after and retry-after-ms on a 429.
    other_users_share: of the limits, used up steadily by somebody else with the same key.
    """

    latency_median: float = 0.0
    latency_sigma: float = 0.0
    requests_per_minute: float = 0
    tokens_per_minute: float = 0
    algorithm: Literal["bucket", "window"] = "bucket"
    burst_seconds: float = 60.0
    starts_at: float = 1.0
    counts: Literal["prompt", "usage"] = "prompt"
    headers: bool = True
    retry_after: bool = True
    other_users_share: float = 0.0

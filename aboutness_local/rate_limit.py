"""The stand-in's rate limit: requests and tokens a minute, with the headers that OpenAI sends."""

import math
import time
from collections.abc import Callable

from aboutness_local.exchange import ApiError


class _Bucket:
    """Holds at most a minute's worth and refills evenly."""

    def __init__(self, name: str, per_minute: int) -> None:
        self.name = name
        self.per_minute = per_minute
        self.level = float(per_minute)

    def refill(self, seconds: float) -> None:
        self.level = min(self.per_minute, self.level + seconds * self.per_minute / 60)

    def seconds_until(self, level: float) -> float:
        return max(0.0, level - self.level) * 60 / self.per_minute


class RateLimit:
    """Token buckets for one route; a limit of 0 is none. The clock gives seconds."""

    def __init__(
        self, requests_per_minute: int, tokens_per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._buckets = [_Bucket(name, limit) for name, limit in limits.items() if limit]
        self._clock = clock
        self._refilled_at = clock()

    def admit(self, tokens: int) -> dict[str, str]:
        """Take one request and its tokens, and return the headers of the reply.

        Raises ApiError 429 with the same headers and retry-after-ms where a bucket holds too little; then
        nothing is taken. A request larger than a whole minute's tokens passes when the bucket is full.
        """
        now = self._clock()
        for bucket in self._buckets:
            bucket.refill(now - self._refilled_at)
        self._refilled_at = now

        costs = [1 if bucket.name == "requests" else tokens for bucket in self._buckets]
        needs = [min(cost, bucket.per_minute) for cost, bucket in zip(costs, self._buckets, strict=True)]
        for bucket, need in zip(self._buckets, needs, strict=True):
            wait = bucket.seconds_until(need)
            if wait > 0:
                raise ApiError(
                    429,
                    f"Rate limit reached on {bucket.name} per min: Limit {bucket.per_minute}, "
                    f"Requested {need}. Please try again in {duration(wait)}.",
                    bucket.name,
                    code="rate_limit_exceeded",
                    headers={**self._headers(), "retry-after-ms": str(math.ceil(wait * 1000))},
                )
        for bucket, need in zip(self._buckets, needs, strict=True):
            bucket.level -= need
        return self._headers()

    def _headers(self) -> dict[str, str]:
        headers = {}
        for bucket in self._buckets:
            headers[f"x-ratelimit-limit-{bucket.name}"] = str(bucket.per_minute)
            headers[f"x-ratelimit-remaining-{bucket.name}"] = str(int(bucket.level))
            headers[f"x-ratelimit-reset-{bucket.name}"] = duration(bucket.seconds_until(bucket.per_minute))
        return headers


def duration(seconds: float) -> str:
    """Seconds as OpenAI's headers write them: ``12ms``, ``1.5s``, ``6m0s``."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"

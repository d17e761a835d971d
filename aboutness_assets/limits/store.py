"""What the throttle needs of a store that all processes share, and the values that pass between them.

The arithmetic of the limits belongs to the store, since it must run under one lock for all processes:
``PostgresLimitStore`` in database/operations is the real one, ``MemoryLimitStore`` in tests/support serves
unit tests.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from aboutness_assets.limits.headers import Quota


@dataclass(frozen=True, slots=True)
class Lease:
    """Requests that were reserved together.

    wait: seconds until the first may be sent; interval: seconds between two of them. pause: seconds that the
    pause after a 429 still lasts. limit_known: whether a limit is configured or was read from headers.
    request_rate, token_rate: requests and tokens per second that all processes together may use now; a
    token_rate of None is unlimited. requests, tokens: reserved by all processes so far, including these.
    min_tokens_per_request: the fewest tokens that the provider was seen to count for one request, None where
    its headers do not show it.
    """

    wait: float
    interval: float
    pause: float
    limit_known: bool
    request_rate: float
    token_rate: float | None
    requests: float
    tokens: float
    min_tokens_per_request: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """The place in line of requests that were reserved before: what all had reserved ahead of them."""

    requests: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What the headers of one answer said about the limits.

    age: seconds since its request was sent. requests, tokens: reserved by all processes up to that request.
    """

    age: float
    requests: float
    tokens: float
    request_quota: Quota
    token_quota: Quota


@dataclass(frozen=True, slots=True)
class Pause:
    """What a 429 led to.

    seconds: until requests may be sent again. added: seconds by which this 429 lengthened the pause.
    begins: whether it started a pause; a 429 to a request that was sent before the pause does not.
    """

    seconds: float
    added: float
    begins: bool


class LimitStore(Protocol):
    """The limits on one kind of request of one account, shared by every process that uses them."""

    async def reserve(
        self,
        requests: int,
        tokens: float,
        *,
        place: Place | None = None,
        token_correction: float = 0.0,
        observation: Observation | None = None,
    ) -> Lease:
        """Reserve requests that are estimated at so many tokens in all; 0 requests only report and look.

        place: nothing is reserved again; the lease says when those that hold this place may be sent, at the
        rates of now. The rest is what happened since the last call. token_correction: tokens that earlier
        requests used beyond their reservation (negative: fewer). observation: what the answer to the latest
        request said.
        Raises FatalError when the store cannot be reached.
        """
        ...

    async def rate_limited(self, *, age: float, requests: float, wait: float | None) -> Pause:
        """Pause every request of this kind in every process: one sent ``age`` seconds ago met a 429.

        requests: reserved by all processes up to and including that request. What is reserved and not sent
        keeps its place in line. wait: seconds that the 429 asks for, None where it names no time.
        Raises FatalError when the store cannot be reached.
        """
        ...


def rate_limit_name(kind: str, endpoint: str, model: str, api_key: str) -> str:
    """Names what requests must have in common to share a limit; the key shows only as a fingerprint."""
    return f"{kind} {endpoint} {model} {hashlib.sha256(api_key.encode()).hexdigest()[:12]}"

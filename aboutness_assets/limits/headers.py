"""Reads what a provider's headers say about its rate limits; nothing here raises, whatever they contain."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_DURATION_PART = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_SECONDS_PER_UNIT = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the micro sign, as Go writes it
    "μs": 1e-6,  # U+03BC, the Greek letter
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}

MINUTE_RESET_SECONDS = 90.0
"""A limit per minute is reset within a minute, and some; the store's functions count with the same figure."""


@dataclass(frozen=True, slots=True)
class Quota:
    """One ``x-ratelimit-*`` triple, of requests or of tokens; None is what the provider did not say.

    limit is a count per minute, remaining a count, reset in seconds from now.
    """

    limit: float | None
    remaining: float | None
    reset: float | None

    @property
    def per_minute(self) -> float | None:
        """The limit, where it is one per minute: a later reset is that of another one (a day's, say)."""
        return None if self.reset is not None and self.reset > MINUTE_RESET_SECONDS else self.limit


def parse_number(text: str | None) -> float | None:
    """A plain decimal number of at least 0, or None."""
    if text is None or not _NUMBER.fullmatch(text := text.strip()):
        return None
    return float(text)


def parse_duration(text: str | None) -> float | None:
    """Seconds from a duration as Go prints it (``12ms``, ``6m0s``, ``1h2m3.5s``) or a plain number.

    OpenAI writes ``x-ratelimit-reset-*`` this way. None for anything else.
    """
    if text is None:
        return None
    text = text.strip()
    if (seconds := parse_number(text)) is not None:
        return seconds
    total, position = 0.0, 0
    while part := _DURATION_PART.match(text, position):
        total += float(part[1]) * _SECONDS_PER_UNIT[part[2]]
        position = part.end()
    return total if 0 < position == len(text) else None


def read_quota(headers: Mapping[str, str], kind: str) -> Quota:
    """The provider's quota of ``requests`` or ``tokens`` (kind); header names must be in lower case."""
    return Quota(
        limit=parse_number(headers.get(f"x-ratelimit-limit-{kind}")),
        remaining=parse_number(headers.get(f"x-ratelimit-remaining-{kind}")),
        reset=parse_duration(headers.get(f"x-ratelimit-reset-{kind}")),
    )


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date) asks for.

    None where neither can be read, and for a time that is zero or past: that names no time to wait.
    """
    milliseconds = parse_number(headers.get("retry-after-ms"))
    text = headers.get("retry-after")
    if milliseconds is not None:
        seconds = milliseconds / 1000
    elif (plain := parse_number(text)) is not None:
        seconds = plain
    elif (date := _parse_http_date(text)) is not None:
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    else:
        return None
    return seconds if seconds > 0 else None


def rate_limit_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a 429 asks for: its retry-after, else the latest reset of a used-up quota, else None."""
    if (seconds := retry_after(headers)) is not None:
        return seconds
    quotas = (read_quota(headers, "requests"), read_quota(headers, "tokens"))
    resets = [quota.reset for quota in quotas if quota.remaining is not None and quota.remaining < 1]
    return max((reset for reset in resets if reset), default=None)


def _parse_http_date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None

"""What an HTTP answer comes to: the answer that was asked for, or what went wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from aboutness_assets.domain.errors import UnparsableAnswer
from aboutness_assets.provider.provider_error import ProviderError
from aboutness_assets.provider.transport import Reply

T = TypeVar("T")

BAD_GATEWAY = 502
"""What an error counts as that is stated within an answer of status 200 and names no status of its own."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a usable answer.

    status: of HTTP, or the one that the error states; 0 where no whole answer came. error: what the body
    states, None where it states nothing. trouble: half a sentence where sending it again may help, else None.
    """

    status: int
    error: ProviderError | None
    trouble: str | None


def read_reply(reply: Reply, read: Callable[[bytes], T], api_key: str) -> T | Failure:
    """The answer that ``read`` makes of a body of status 2xx, or what went wrong.

    An error counts wherever it stands, within an answer of status 200 too; the status that it states counts
    before that of HTTP.
    """
    if reply.trouble is not None:
        return Failure(0, None, reply.trouble)
    if not 200 <= reply.status < 300:
        error = ProviderError.read(reply.body, api_key)
        status = error.status_stated or reply.status
        return Failure(status, error, _trouble(status, f"HTTP {reply.status}: {error.message}"))
    try:
        return read(reply.body)
    except UnparsableAnswer as unreadable:
        error = ProviderError.read(reply.body, api_key)
        if not error.is_stated or not (error.has_words or error.status):
            trouble = f"HTTP {reply.status} with a body that is not an answer ({unreadable})"
            return Failure(0, None, trouble)
    status = error.status or BAD_GATEWAY
    return Failure(status, error, _trouble(status, f"HTTP {reply.status} with an error: {error.message}"))


def _trouble(status: int, words: str) -> str | None:
    return words if status in (408, 409) or status >= 500 else None

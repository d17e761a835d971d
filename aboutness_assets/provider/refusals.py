"""What an error that the provider answers means: for this request, for its form, or for the whole run."""

import re
from dataclasses import dataclass
from typing import Self

from aboutness_assets.domain.errors import (
    ContentFiltered,
    FatalError,
    RequestRefused,
    UnparsableAnswer,
)
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.provider.services import Service
from aboutness_assets.provider.transport import Reply
from aboutness_assets.provider.wire import as_dict, parse_object

MAX_MESSAGE_CHARACTERS = 300

# The provider's own codes for an account that cannot pay; HTTP 429, though no waiting helps.
_NO_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached"}
_CONTENT_FILTER = re.compile(r"content[_ -]?(filter|policy)|responsible_?ai", re.IGNORECASE)
# A 429 that no waiting cures: one request that asks for more than the limit of a whole minute.
_REQUEST_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
# OpenAI's guide to flex processing names this error but shows no body: either spelling counts, in any field.
_NO_CAPACITY = re.compile(r"resource[_ ]unavailable", re.IGNORECASE)
_SECRET = re.compile(r"\bsk-[\w*.-]{4,}|\bBearer\s+\S+", re.IGNORECASE)


class BadRequest(RequestRefused):
    """A refusal with the provider's own words in full, to see what it is that it refuses."""

    def __init__(self, message: str, provider_text: str) -> None:
        super().__init__(message)
        self.provider_text = provider_text


@dataclass(frozen=True, slots=True)
class ProviderError:
    """The error that a provider's answer states.

    message: for people, short and without secrets. text: all of it, to search in, never to show. is_stated:
    whether the body is a JSON document that states an error, not a gateway's page. is_no_capacity: whether it
    says that the tier has no capacity now (of a 429 to a request for a cheaper tier).
    """

    message: str
    text: str
    code: str
    no_quota: bool
    is_content_filter: bool
    is_stated: bool
    is_no_capacity: bool

    @classmethod
    def read(cls, raw: bytes, api_key: str) -> Self:
        """Understands OpenAI's form ({"error": {message, type, param, code}}), flat forms and plain text."""
        try:
            body = parse_object(raw)
        except UnparsableAnswer:
            body = {}
        stated = body.get("error")
        error = as_dict(stated) or {"message": stated, **body}
        said = error.get("message") or error.get("detail") or raw.decode(errors="replace")
        message = str(said) if said else "no reason given"
        code, kind = str(error.get("code") or ""), str(error.get("type") or "")
        inner_code = str(as_dict(error.get("innererror")).get("code") or "")
        return cls(
            message=_for_people(message, api_key),
            text=f"{message} {error.get('param')} {code}",
            code=code,
            no_quota=not _NO_QUOTA_CODES.isdisjoint((code, kind)),
            is_content_filter=_CONTENT_FILTER.search(f"{code} {kind} {inner_code}") is not None,
            is_stated=bool(body),
            is_no_capacity=_NO_CAPACITY.search(f"{code} {kind} {message}") is not None,
        )

    @property
    def is_beyond_waiting(self) -> bool:
        """Whether a 429 is about money, or about one request that no minute's limit can hold."""
        return self.no_quota or _REQUEST_TOO_LARGE.search(self.text) is not None


def may_be_billed(reply: Reply, error: ProviderError | None) -> bool:
    """Whether a request that brought no usable answer may have been worked on and billed.

    A server that states its own error has not finished the work; a time-out, a broken connection, a gateway's
    page, an answer that cannot be read and a stated time-out tell nothing. error: None below status 400.
    """
    if error is None:
        return True
    return reply.status in (408, 502, 504) or (reply.status >= 500 and not error.is_stated)


def meaning_of(
    reply: Reply, error: ProviderError, service: Service, host: str
) -> FatalError | RequestRefused:
    """What a status that no repetition cures means for the run."""
    answered = f"(HTTP {reply.status}: {error.message})"
    if error.no_quota or reply.status == 402:
        return FatalError(f"The provider's account has no quota left {answered}. Add credit, run again.")
    if reply.status == 404 or error.code == "model_not_found":
        return FatalError(
            f"The endpoint {host} does not know the {service.kind} model {service.model!r} {answered}. "
            f"Set {service.model_setting} to a model that it serves, and check OPENAI_BASE_URL."
        )
    if reply.status in (401, 403):
        return FatalError(
            f"The provider does not let us in for the {service.kind} model {service.model!r} {answered}. "
            f"Check OPENAI_API_KEY, OPENAI_BASE_URL and {service.model_setting}."
        )
    if error.is_content_filter:
        return ContentFiltered(
            f"The provider's content filter refuses this {service.kind} request {answered}."
        )
    return BadRequest(f"The provider refuses this {service.kind} request {answered}.", error.text)


def _for_people(text: str, api_key: str) -> str:
    """A provider's text on one printable line, without keys, at most MAX_MESSAGE_CHARACTERS long."""
    text = _SECRET.sub("[secret]", printable_line(text).replace(printable_line(api_key), "[secret]"))
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"

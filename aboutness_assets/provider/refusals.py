"""What an error that the provider answers means: for this request, for its form, or for the whole run."""

import re
from collections.abc import Mapping

from aboutness_assets.domain.errors import ContentFiltered, FatalError, RequestRefused
from aboutness_assets.limits.headers import rate_limit_wait
from aboutness_assets.provider.provider_error import ProviderError
from aboutness_assets.provider.services import Service
from aboutness_assets.provider.transport import Reply

LONGEST_RATE_LIMIT_SECONDS = 3_600.0
"""A 429 that asks for a longer wait is about a day, a month or money: the run stops and says so."""

ABSURD_WAIT_SECONDS = 32 * 86_400.0
"""No limit is further away; a 429 that asks for more is mistaken, and is waited for like any other."""

# Codes for an account that cannot pay; HTTP 429, though no waiting helps. From the error references of
# OpenAI, Moonshot and Zhipu (1113: no balance).
_NO_QUOTA_NAMES = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "exceeded_current_quota_error",
    "insufficient_balance",
    "insufficient_user_quota",
    "quota_exceeded",
    "1113",
}
_NO_MONEY = re.compile(
    r"insufficient[_ ](?:\w+[_ ])?(?:quota|balance|credits?|funds)|arrears|hard limit"
    r"|(?:balance|credits?|quota|funds)\b(?:[^.]|\.\d){0,30}"
    r"\b(?:insufficient|too low|depleted|exhausted|used up|not enough)"
    r"|(?:no|out of|not enough|run out of|ran out of)\b(?:[^.]|\.\d){0,20}\b(?:balance|credits?|quota|funds)"
    r"|(?:exhausted|used up|used all|spent)\b(?:[^.]|\.\d){0,20}\b(?:balance|credits?|funds)"
    r"|budget\b(?:[^.]|\.\d){0,30}\bexceeded|exceed\w*\b(?:[^.]|\.\d){0,30}\b(?:budget|spending limit)"
    r"|余额不足|欠费",
    re.IGNORECASE,
)
# Where a rate limit is meant, these say how to get a higher one.
_PAY = re.compile(r"recharge|top[ -]?up|充值", re.IGNORECASE)
_NOTHING_ALLOWED = re.compile(r"\blimit\W{0,4}0(?!\.?\d)", re.IGNORECASE)
_ABOUT_MONEY = re.compile(
    r"quota|balance|billing|credit|payment|prepaid|subscription|spend|\bplan\b", re.IGNORECASE
)
_ABOUT_A_DAY = re.compile(r"per[ _-]?(?:day|month)|daily|monthly|\b[RT]PD\b|/ ?day", re.IGNORECASE)
_ABOUT_A_MINUTE = re.compile(
    r"(?:per|\ban?|each|every|/)[ _-]?(?:minute|min|second|sec)\b|\b(?:[RT]PM|[RT]PS|QPS|QPM)\b"
    r"|rate[ _-]?limit|concurren|too many (?:requests|calls)|throttl|slow down"
    r"|too (?:fast|quickly|often|frequent(?:ly)?)\b|overload|capacity|速率|频率|并发|每分钟|每秒",
    re.IGNORECASE,
)
# One request that asks for more than the limit of a whole minute.
_REQUEST_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
# Gateways answer 429 to an embedding request that holds more texts than they take at once.
_TOO_MANY_TEXTS = re.compile(
    r"too many (?:inputs|texts|items|documents|elements|strings)|batch[ _-]?size"
    r"|\b(?:inputs?|texts?|items|documents|batch|array)\b[^.]{0,30}"
    r"\b(?:maximum|at most|no more than|exceed\w*|larger than|too (?:large|long|big))"
    r"|(?:maximum|at most|no more than|up to)[^.]{0,20}\b(?:inputs|texts|items|documents|batch|array)\b",
    re.IGNORECASE,
)

_MODERATION = re.compile(
    r"moderat|inappropriate|unsafe|safety|high risk|sensitive|flagged|prohibited|blocked", re.IGNORECASE
)
_UNKNOWN_MODEL = re.compile(
    r"model\b.{0,80}\b(not found|not exist|unknown|no such)|unknown model", re.IGNORECASE
)
# Of 4xx, these are not about a request's form, but about the key, the account, the time or the size.
_NOT_ABOUT_FORM = {401, 402, 407, 408, 409, 413, 425, 429}

_ABOUT_THE_REQUEST = {400, 413, 414, 422, 429, 431}
"""Statuses that speak of what a request holds; any other one may speak of the key, the model or the place."""


class BadRequest(RequestRefused):
    """A refusal of this very request, as long as others pass.

    status: of HTTP, or the one that the error states. provider_text: the provider's own words in full, to see
    what it is that it refuses. if_global: what it means should a harmless request be refused as well; None
    where the status speaks of this request alone.
    """

    def __init__(
        self, message: str, provider_text: str, status: int = 400, if_global: FatalError | None = None
    ) -> None:
        super().__init__(message)
        self.provider_text = provider_text
        self.status = status
        self.if_global = if_global


def is_about_form(status: int, meaning: Exception) -> bool:
    """Whether a refusal may be about the form of a request, whatever it says: which optional parts it has."""
    return 400 <= status < 500 and status not in _NOT_ABOUT_FORM and not isinstance(meaning, FatalError)


def names_cause(status: int, error: ProviderError) -> bool:
    """Whether a refusal says that something other than the request's form is the matter."""
    words = _MODERATION.search(error.text) or _UNKNOWN_MODEL.search(error.text)
    return status == 403 or error.is_content_filter or words is not None


def may_be_billed(reply: Reply, error: ProviderError | None) -> bool:
    """Whether a request that brought no usable answer may have been worked on and billed.

    A server that states its own error has not finished the work; a time-out, a broken connection, a gateway's
    page, an answer that cannot be read and a stated time-out tell nothing, nor does an error within an answer
    of status 200. error: None below status 400.
    """
    if error is None or reply.status < 400:
        return True
    return reply.status in (408, 502, 504) or (reply.status >= 500 and not error.is_stated)


def is_too_large(error: ProviderError) -> bool:
    """Whether a 429 refuses one request for its size: no wait makes it smaller."""
    if _REQUEST_TOO_LARGE.search(error.said):
        return True
    return bool(_TOO_MANY_TEXTS.search(error.said)) and not _ABOUT_A_MINUTE.search(error.said)


def waiting_helps(error: ProviderError, headers: Mapping[str, str]) -> bool:
    """Whether a 429 passes within an hour: it is not about money, nor about a day, nor about a limit of zero.

    A time that it names, in its headers or its words, counts before words that could mean either: Google
    speaks of "plan and billing" when a minute's limit is reached, and says in how many seconds to come back.
    """
    asked = rate_limit_wait(headers) or error.wait
    if is_too_large(error) or is_about_money(error) or _NOTHING_ALLOWED.search(error.text):
        return False
    if asked is not None:
        return not LONGEST_RATE_LIMIT_SECONDS < asked <= ABSURD_WAIT_SECONDS
    if _ABOUT_A_DAY.search(error.said):
        return False
    return not _ABOUT_MONEY.search(error.said) or _ABOUT_A_MINUTE.search(error.said) is not None


def is_about_money(error: ProviderError) -> bool:
    """Whether the account cannot pay, in words or codes that mean nothing else."""
    if not _NO_QUOTA_NAMES.isdisjoint(error.names) or _NO_MONEY.search(error.said):
        return True
    return _PAY.search(error.said) is not None and _ABOUT_A_MINUTE.search(error.said) is None


def meaning_of(
    status: int, error: ProviderError, service: Service, host: str
) -> FatalError | ContentFiltered | BadRequest:
    """What a status that no repetition cures means."""
    answered = f"(HTTP {status}: {error.message})"
    no_quota = FatalError(
        f"The provider's account has no quota left {answered}. Waiting does not help: add credit or raise "
        "its limit, then run it again."
    )
    if status == 402 or (status == 429 and not is_too_large(error)):
        return no_quota
    unknown = FatalError(
        f"The endpoint {host} does not know the {service.kind} model {service.model!r} {answered}. "
        f"Set {service.model_setting} to a model that it serves, and check OPENAI_BASE_URL."
    )
    if "model_not_found" in error.names:
        return unknown
    if error.is_content_filter:
        return ContentFiltered(
            f"The provider's content filter refuses this {service.kind} request {answered}."
        )
    if_global: FatalError | None = FatalError(
        f"The provider does not let us in for the {service.kind} model {service.model!r} {answered}. "
        f"Check OPENAI_API_KEY, OPENAI_BASE_URL and {service.model_setting}."
    )
    if is_about_money(error):
        if_global = no_quota
    elif status == 404:
        if_global = unknown
    elif status in _ABOUT_THE_REQUEST:
        if_global = None
    return BadRequest(
        f"The provider refuses this {service.kind} request {answered}.", error.text, status, if_global
    )

"""What an error that the provider answers means, and whether it may have been billed."""

import asyncio
import json
import logging
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import (
    ContentFiltered,
    FatalError,
    ProviderUnavailable,
    RequestRefused,
)
from aboutness_assets.limits.patience import Patience
from aboutness_assets.provider.harmless import harmless_chat
from aboutness_assets.provider.provider_error import MAX_MESSAGE_CHARACTERS, ProviderError
from aboutness_assets.provider.refusals import BadRequest, may_be_billed
from aboutness_assets.provider.retries import Retries
from aboutness_assets.provider.transport import Reply
from aboutness_assets.provider.waiting import waits_told
from tests.support.provider_clients import KEY, Clients, Lost, RecordedAttempts, open_clients
from tests.support.scripted_endpoint import (
    Answer,
    Recorded,
    ScriptedEndpoint,
    Together,
    answer_json,
    chat_answer,
    embeddings_answer,
    error,
)

STATED = b'{"error": {"message": "overloaded"}}'
PAGE = b"<html><h1>Bad Gateway</h1></html>"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(401, f"Incorrect API key provided: {KEY}."), "OPENAI_API_KEY"),
        (error(403, "Country not supported"), "Country not supported"),
        (error(402, "pay first"), "no quota"),
        (error(429, "You exceeded your quota", code="insufficient_quota"), "no quota"),
        (error(429, "You exceeded your quota", type="insufficient_quota"), "no quota"),
        (error(429, "Hard limit", code="billing_hard_limit_reached"), "no quota"),
        (error(404, "The model does not exist"), "127.0.0.1.*'gpt-test'.*ABOUTNESS_CHAT_MODEL"),
        (error(400, "no such model", code="model_not_found"), "'gpt-test'.*ABOUTNESS_CHAT_MODEL"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_what_no_song_can_survive_is_fatal_at_once_and_not_billed(
    endpoint: ScriptedEndpoint, clients: Clients, answer: Answer, told: str
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(FatalError, match=told):
        await clients.chat()
    assert clients.attempts.ends == ["refused"]
    assert len(endpoint.requests) == 1


async def test_an_unknown_embedding_model_names_its_own_setting(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = error(404, "The model does not exist")
    with pytest.raises(FatalError, match=r"'embed-test'.*ABOUTNESS_EMBEDDING_MODEL"):
        await clients.embedding_client.embeddings(["a"], None, 1, clients.attempts)


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "Invalid value"),
        error(413, "Too big"),
        error(422, "Unprocessable"),
        Answer(b"no JSON at all", 400),
        error(429, "Request too large for gpt-test: Limit 1000, Requested 2000.", code="rate_limit_exceeded"),
    ],
    ids=lambda answer: str(answer.status),
)
async def test_a_refusal_of_this_very_request_is_neither_repeated_nor_billed(
    endpoint: ScriptedEndpoint, clients: Clients, answer: Answer
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(RequestRefused) as refusal:
        await clients.chat()
    assert not isinstance(refusal.value, ContentFiltered)
    assert clients.attempts.ends == ["refused"]
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "details",
    [
        {"code": "content_filter"},
        {"code": "content_policy_violation"},
        {"type": "content-filter"},
        {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    ],
    ids=repr,
)
async def test_a_refusal_by_the_content_filter_is_told_apart(
    endpoint: ScriptedEndpoint, clients: Clients, details: dict[str, Any]
) -> None:
    endpoint.otherwise = error(400, "not allowed", **details)
    with pytest.raises(ContentFiltered):
        await clients.chat()
    assert clients.attempts.ends == ["refused"]


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_no_error_holds_a_secret_or_is_endless(
    endpoint: ScriptedEndpoint, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "test")
    key = "no-usual-key"
    endpoint.otherwise = error(status, f"key {key}, sk-abc***def, Bearer xyzxyz; " + "long\n" * 500)
    async with open_clients(endpoint.base_url, api_key=key) as clients:
        with pytest.raises((RequestRefused, FatalError, ProviderUnavailable)) as raised:
            await clients.chat()
    told = str(raised.value)
    shown = "".join(traceback.format_exception(raised.value, chain=True)) + caplog.text
    for secret in (key, "sk-abc", "***def", "xyzxyz"):
        assert secret not in told + shown
    assert len(told) < 600
    assert "\n" not in told
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "in OpenAI's form"}}, "in OpenAI's form"),
        ({"error": "in one word"}, "in one word"),
        ({"message": "flat"}, "flat"),
        ({"detail": "as FastAPI says it"}, "as FastAPI says it"),
        ({"error": {"code": "x"}}, '{"error": {"code": "x"}}'),
        ({"error": {"message": "two\nlines\x1b[31m"}}, "two lines [31m"),
    ],
    ids=repr,
)
def test_the_message_is_found_in_every_usual_form(body: dict[str, Any], message: str) -> None:
    read = ProviderError.read(json.dumps(body).encode(), KEY)
    assert " ".join(read.message.replace("\\x1b", " ").split()) == message
    assert read.is_stated


@pytest.mark.parametrize(
    ("body", "message", "status"),
    [
        (
            [{"error": {"code": 400, "message": "in an array", "status": "INVALID_ARGUMENT"}}],
            "in an array",
            400,
        ),
        ({"errors": [{"message": "of several", "code": "503"}]}, "of several", 503),
        ({"choices": [{"error": {"message": "in a choice", "code": 502}}]}, "in a choice", 502),
        ({"choices": [{"finish_reason": "error"}]}, "finish_reason is error", None),
        ({"object": "error", "message": "flat", "code": 422}, "flat", 422),
        ({"code": 1113, "msg": "no balance"}, "no balance", None),
        ({"detail": [{"loc": ["body"], "msg": "one"}, {"msg": "two"}]}, "one; two", None),
        ({"error": {"message": "outer", "metadata": {"raw": "inner words"}}}, "outer: inner words", None),
        ({"error": {"message": "by name", "type": "authentication_error"}}, "by name", 401),
        ({"error": "in one word", "code": 429}, "in one word", 429),
        ({"error": {"message": "no status", "code": "200"}}, "no status", None),
    ],
    ids=repr,
)
def test_an_error_is_found_wherever_it_stands_with_the_status_that_it_states(
    body: object, message: str, status: int | None
) -> None:
    read = ProviderError.read(json.dumps(body).encode(), KEY)
    assert (read.message, read.status) == (message, status)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 7m12.5s.", 432.5),
        ("Rate limit reached. Try again in 20s", 20),
        ("retry after 30 seconds", 30),
        ("Please retry in 12.25 s", 12.25),
        ("please wait 2 minutes", 120),
        ("try again in 350ms", 0.35),
        ("Retry in 3 hours", 10_800),
        ("limit of 30 requests", None),
        ("try again later", None),
    ],
)
def test_the_wait_that_words_name(words: str, seconds: float | None) -> None:
    assert ProviderError.read(error(429, words).body, KEY).wait == pytest.approx(seconds)


def test_the_wait_that_google_states() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41s"}]
    assert ProviderError.read(error(429, "x", details=details).body, KEY).wait == 41


BEYOND_WAITING: dict[str, Answer] = {
    "quota by code": error(429, "You exceeded your current quota", code="insufficient_quota"),
    "quota by type": error(429, "exceeded", {"retry-after": "1"}, type="exceeded_current_quota_error"),
    "a limit of zero": error(429, "Quota exceeded for metric: free_tier_requests, limit: 0. Retry in 5s"),
    "a code of its own": error(429, "Insufficient balance or no resource package", code="1113"),
    "balance": error(429, "Your account balance is too low", {"retry-after": "5"}),
    "billing": error(429, "Check your plan and billing details"),
    "credits": error(429, "You have run out of credits this month"),
    "credits that were used": error(
        429, "Your team has used all its credits for now", code="rate_limit_exceeded"
    ),
    "a top-up": error(429, "Top up to go on"),
    "a budget": error(429, "Your key's budget of $5.00 was exceeded"),
    "a day in hours": error(429, "Limit of tokens per day reached", {"retry-after": "27072"}),
    "a day without a time": error(429, "You reached the daily limit of requests"),
    "hours in words": error(429, "Rate limit reached, try again in 7h31m"),
    "a reset of hours": error(
        429, "slow down", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6h0m0s"}
    ),
}


@pytest.mark.parametrize("answer", BEYOND_WAITING.values(), ids=BEYOND_WAITING)
async def test_a_429_that_no_waiting_cures_ends_the_run_in_the_providers_words(
    endpoint: ScriptedEndpoint, clients: Clients, answer: Answer
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(FatalError) as stopped:
        await clients.chat()
    assert ProviderError.read(answer.body, KEY).message in str(stopped.value)
    assert len(endpoint.requests) == 1


CURED_BY_WAITING: dict[str, Answer] = {
    "plain": error(429, "slow down"),
    "a minute's quota": error(429, "Quota exceeded: requests per minute"),
    "google's minute": error(429, "You exceeded your current quota, check your plan. Please retry in 0.01s"),
    "a page": Answer(PAGE, 429),
    "tokens per minute": error(429, "Rate limit reached: TPM limit 200000, please try again in 6ms"),
    "input tokens": error(429, "This would exceed your rate limit of 40,000 input tokens per minute"),
    "inputs a minute": error(429, "At most 100 inputs per minute"),
    "limit of ten": error(429, "Rate limit: limit: 10 requests"),
    "rates and billing": error(
        429,
        "Without a card on the billing page your rate limits are reduced to 3 RPM. Add one to raise them.",
    ),
    "rates and a top-up": error(429, "Too many requests for a free account. Top up to be allowed more."),
    "speed and payment": error(429, "You are going too fast; accounts with a payment method may go faster"),
    "rates, in Chinese": error(429, "已达到每分钟请求上限，充值后可提升"),
    "limit below one": error(429, "limit: 0.5 requests a second"),
}


@pytest.mark.parametrize("answer", CURED_BY_WAITING.values(), ids=CURED_BY_WAITING)
async def test_a_429_that_waiting_cures_is_waited_for(
    endpoint: ScriptedEndpoint, clients: Clients, answer: Answer
) -> None:
    endpoint.script(answer, chat_answer("at last"))
    assert (await clients.chat()).content == "at last"
    assert clients.attempts.ends == ["rate_limited", "answered"]


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        ({"error": {"message": "no", "code": 400}}, RequestRefused),
        ({"error": {"message": "no key", "code": 401}}, FatalError),
        ({"error": {"message": "pay", "code": 402}}, FatalError),
        ({"error": {"message": "down", "code": 503}}, ProviderUnavailable),
        ({"error": {"message": "Provider returned error"}}, ProviderUnavailable),
        ({"error": {"message": "quota", "type": "insufficient_quota"}}, FatalError),
        ({"choices": None, "usage": None}, ProviderUnavailable),
        ({"choices": [{"error": {"message": "no", "code": 403}}]}, FatalError),
        ({"choices": [{"finish_reason": "error", "message": {"content": ""}}]}, ProviderUnavailable),
    ],
    ids=repr,
)
async def test_an_error_in_an_answer_of_status_200_means_what_its_own_status_means(
    endpoint: ScriptedEndpoint, clients: Clients, body: object, raised: type[Exception]
) -> None:
    endpoint.otherwise = answer_json(body)
    with pytest.raises(raised):
        await clients.chat()
    assert set(clients.attempts.ends) == {"uncertain"}


async def test_the_status_that_an_error_states_counts_before_that_of_http(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.script(error(400, "slow down", code=429), chat_answer("at last"))
    assert (await clients.chat()).content == "at last"
    assert clients.attempts.ends == ["rate_limited", "answered"]


async def test_a_429_within_an_answer_of_status_200_is_waited_for(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.script(answer_json({"error": {"message": "slow down", "code": 429}}), chat_answer("at last"))
    assert (await clients.chat()).content == "at last"
    assert clients.attempts.ends == ["rate_limited", "answered"]


async def test_what_an_error_says_it_used_is_booked_as_billed(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 5}
    endpoint.script(answer_json({"choices": [], "usage": usage}), chat_answer("at last"))
    await clients.chat()
    assert clients.attempts.outcomes[0] == Lost("uncertain", Usage(12, 5))


# --- One request or all of them? ------------------------------------------------------------------


BLOCKED = "Forbidden Title"


def moderated(status: int, body: bytes = PAGE) -> Callable[[Recorded], Answer]:
    """An endpoint that refuses what speaks of one title."""

    def answer(request: Recorded) -> Answer:
        is_blocked = BLOCKED in json.dumps(request.body)
        is_chat = request.path == "/chat/completions"
        if is_blocked:
            return Answer(body, status)
        return chat_answer() if is_chat else embeddings_answer({0: [1.0]})

    return answer


@pytest.mark.parametrize("status", [401, 403, 404, 405, 451])
@pytest.mark.parametrize("body", [PAGE, STATED], ids=["page", "stated"])
async def test_a_refusal_of_one_request_is_that_requests_own_where_a_harmless_one_passes(
    endpoint: ScriptedEndpoint, status: int, body: bytes
) -> None:
    endpoint.otherwise = moderated(status, body)
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        await clients.chat()
        with pytest.raises(RequestRefused):
            await clients.chat([{"role": "user", "content": BLOCKED}])
        assert clients.attempts.ends == ["answered", "refused", "uncertain"]
        assert (await clients.chat()).content == "hello"


async def test_the_first_request_of_all_may_be_the_one_that_is_refused(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = moderated(403)
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        with pytest.raises(RequestRefused):
            await clients.chat([{"role": "user", "content": BLOCKED}])
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_of_the_harmless_request_too_is_about_all(
    endpoint: ScriptedEndpoint, status: int
) -> None:
    endpoint.script(chat_answer())
    endpoint.otherwise = error(status, "not any more")
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        await clients.chat()
        with pytest.raises(FatalError, match="not any more"):
            await clients.chat()
    assert len(endpoint.requests) == 3


async def test_a_wrong_key_takes_no_second_request(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = error(401, "Incorrect API key")
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        with pytest.raises(FatalError, match="OPENAI_API_KEY"):
            await clients.chat()
    assert len(endpoint.requests) == 1


async def test_words_of_money_are_about_all_only_where_a_harmless_request_meets_them_too(
    endpoint: ScriptedEndpoint,
) -> None:
    poor = error(400, "Your credit balance is too low to access the API")
    endpoint.script(chat_answer(), poor, chat_answer(), poor, poor)
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        await clients.chat()
        with pytest.raises(RequestRefused):
            await clients.chat()
        with pytest.raises(FatalError, match=r"no quota left.*credit balance is too low"):
            await clients.chat()


async def test_of_refusals_at_once_one_alone_is_tried(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat_answer(), *[Together(Answer(PAGE, 403), requests=9)] * 8)
    endpoint.otherwise = chat_answer()
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        await clients.chat()
        refused = await asyncio.gather(
            *(clients.chat(attempts=RecordedAttempts()) for _ in range(8)), return_exceptions=True
        )
    assert {type(each) for each in refused} == {BadRequest}
    assert len(endpoint.requests) == 10


async def test_a_refused_embedding_is_that_texts_own(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = moderated(403)
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        with pytest.raises(RequestRefused):
            await clients.embedding_client.embeddings([BLOCKED], None, 1, clients.attempts)


def test_a_harmless_request_has_the_form_of_the_one_that_was_refused() -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "{}"}
    harmless = harmless_chat([system, user], {"type": "json_schema", "json_schema": {"name": "one"}})
    body = {"model": "m", "messages": [system, user], "max_tokens": 7, "response_format": {"type": "text"}}
    assert harmless(body) == body
    schema = {**body, "response_format": {"type": "json_schema", "json_schema": {"name": "ten"}}}
    assert harmless(schema)["response_format"]["json_schema"] == {"name": "one"}
    merged = {**body, "messages": [{"role": "user", "content": "all in one"}]}
    assert harmless(merged)["messages"] == [{"role": "user", "content": "Be brief.\n\n{}"}]


# --- Patience ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [error(429, "slow down"), error(429, "slow", {"retry-after": "300"}), error(503, "away")]
)
async def test_a_run_gives_up_where_no_request_succeeds(endpoint: ScriptedEndpoint, trouble: Answer) -> None:
    endpoint.otherwise = trouble
    retries = Retries(attempts=10_000, backoff_seconds=0.001)
    async with open_clients(endpoint.base_url, retries=retries, give_up_seconds=0.3) as clients:
        with pytest.raises(FatalError, match=r"gave up .* without one answer .*(slow|away)"):
            await clients.chat()


def test_patience_begins_anew_with_every_success() -> None:
    now = 0.0
    patience = Patience(60, clock=lambda: now)
    assert patience.seconds_left() is None
    patience.troubled("a rate limit")
    now = 59
    patience.troubled("a rate limit")
    assert patience.seconds_left() == 1
    patience.succeeded()
    now = 100
    patience.troubled("HTTP 503")
    now = 160
    with pytest.raises(FatalError, match=r"gave up after 1 minutes .*ABOUTNESS_GIVE_UP_AFTER.*HTTP 503\."):
        patience.check()


class ListeningHandler(logging.Handler):
    """Sets ``heard`` at the first record that holds the words."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        self.heard = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage():
            self.heard.set()


async def test_a_wait_is_told_with_its_reason_and_its_end(
    endpoint: ScriptedEndpoint, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.script(error(429, "slow down, friend", {"retry-after": "300"}))
    log = logging.getLogger("test")
    listening = ListeningHandler("All chat requests wait until")
    log.addHandler(listening)
    waiting = asyncio.create_task(clients.chat())
    async with waits_told((clients.chat_sender,), log, seconds_between_lines=0.01):
        await listening.heard.wait()
    waiting.cancel()
    log.removeHandler(listening)
    assert re.search(r"until \d\d:\d\d:\d\d UTC: .*\(HTTP 429: slow down, friend\)", caplog.text)


@pytest.mark.parametrize("raw", [b"", PAGE, b"plain text", b"[1]", b"7", b"\xff\xfe"], ids=repr)
def test_what_is_no_json_object_states_no_error(raw: bytes) -> None:
    assert not ProviderError.read(raw, KEY).is_stated


def test_an_empty_body_gives_no_reason() -> None:
    assert ProviderError.read(b"", KEY).message == "no reason given"


def test_a_message_is_cut_and_its_text_for_searching_is_not() -> None:
    read = ProviderError.read(json.dumps({"error": {"message": "x" * 5000 + " end"}}).encode(), KEY)
    assert len(read.message) == MAX_MESSAGE_CHARACTERS
    assert " end" in read.text


@pytest.mark.parametrize(
    ("status", "body", "billed"),
    [
        (0, b"", True),  # a time-out, a broken connection
        (200, b"<html>Welcome</html>", True),  # an answer that cannot be read
        (200, STATED, True),
        (304, b"", True),
        (400, STATED, False),
        (400, PAGE, False),
        (401, STATED, False),
        (402, STATED, False),
        (403, PAGE, False),
        (404, STATED, False),
        (408, STATED, True),  # it says itself that it did not wait for the end
        (408, PAGE, True),
        (409, STATED, False),
        (413, PAGE, False),
        (422, STATED, False),
        (429, STATED, False),
        (429, PAGE, False),
        (500, STATED, False),
        (500, PAGE, True),
        (500, b"", True),
        (500, b"[1]", True),
        (501, STATED, False),
        (
            502,
            STATED,
            True,
        ),  # the gateway's own words, whatever their form: the server behind it said nothing
        (502, PAGE, True),
        (503, STATED, False),
        (503, PAGE, True),
        (504, STATED, True),
        (504, PAGE, True),
        (529, STATED, False),
        (529, PAGE, True),
    ],
)
def test_whether_a_request_without_a_usable_answer_may_be_billed(
    status: int, body: bytes, billed: bool
) -> None:
    error_stated = ProviderError.read(body, KEY) if status >= 400 else None
    assert may_be_billed(Reply(status, {}, body), error_stated) is billed


@pytest.mark.parametrize(
    "answer",
    [
        error(429, "Resource Unavailable"),
        error(429, "try later", code="resource_unavailable"),
        error(429, "try later", type="resource_unavailable"),
        answer_json({"message": "Resource unavailable"}, 429),
        Answer(b"Resource Unavailable", 429),
    ],
    ids=lambda answer: answer.body.decode(),
)
def test_no_capacity_is_told_by_words_code_or_type(answer: Answer) -> None:
    assert ProviderError.read(answer.body, KEY).is_no_capacity


@pytest.mark.parametrize("message", ["slow down", "Service Unavailable", "Resource exhausted"])
def test_other_troubles_are_not_taken_for_a_lack_of_capacity(message: str) -> None:
    assert not ProviderError.read(error(429, message).body, KEY).is_no_capacity

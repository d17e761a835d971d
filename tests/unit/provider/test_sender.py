"""Requests that are sent until each has its answer, and what whoever pays hears of every sending."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import FatalError, ProviderUnavailable, RequestRefused
from aboutness_assets.limits.throttle import ASK_AGAIN_SECONDS, Reservation, Throttle
from aboutness_assets.provider.chat import ChatOptions
from aboutness_assets.provider.retries import Retries
from tests.support.provider_clients import (
    MAX_COMPLETION_TOKENS,
    QUICK_RETRIES,
    Answered,
    Clients,
    RecordedAttempts,
    Sending,
    memory_throttle,
    open_clients,
)
from tests.support.scripted_endpoint import (
    Answer,
    Drip,
    Hang,
    Reset,
    Scripted,
    ScriptedEndpoint,
    Together,
    answer_json,
    chat_answer,
    embeddings_answer,
    error,
)

PAGE = b"<html>502 Bad Gateway</html>"
FLEX = ChatOptions("none", "flex")
NO_CAPACITY = error(429, "Resource Unavailable", type="resource_unavailable", code="resource_unavailable")

PASSING_TROUBLES: Mapping[str, tuple[Scripted, str]] = {
    "500 stated": (error(500, "oops"), "refused"),
    "503 stated": (error(503, "overloaded", {"Retry-After": "0"}), "refused"),
    "408 stated": (error(408, "slow"), "uncertain"),
    "409 stated": (error(409, "conflict"), "refused"),
    "502 stated": (error(502, "upstream"), "uncertain"),
    "504 stated": (error(504, "upstream"), "uncertain"),
    "500 page": (Answer(PAGE, 500), "uncertain"),
    "502 page": (Answer(PAGE, 502), "uncertain"),
    "503 page": (Answer(PAGE, 503), "uncertain"),
    "200 page": (Answer(b"<html>Welcome</html>", 200), "uncertain"),
    "200 cut": (Answer(b'{"choices": [', 200), "uncertain"),
    "200 of another type": (Answer(b"[1]", 200), "uncertain"),
    "200 with an error": (answer_json({"error": "in a body of status 200"}), "uncertain"),
    "reset": (Reset(), "uncertain"),
    "reset in the body": (Reset(sent=b'{"choices":'), "uncertain"),
    "429": (error(429, "slow down"), "rate_limited"),
    "429 page": (Answer(PAGE, 429), "rate_limited"),
}
"""What is tried again, and the loss that whoever pays hears of."""


@pytest.mark.parametrize(("trouble", "loss"), PASSING_TROUBLES.values(), ids=PASSING_TROUBLES)
async def test_a_passing_fault_of_the_provider_is_tried_again_and_each_sending_has_its_end(
    endpoint: ScriptedEndpoint, clients: Clients, trouble: Scripted, loss: str
) -> None:
    endpoint.script(trouble, trouble, chat_answer("at last"))
    assert (await clients.chat()).content == "at last"
    assert clients.attempts.ends == [loss, loss, "answered"]
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("trouble", [Hang(), Drip()], ids=["no byte", "byte after byte"])
async def test_a_request_that_takes_too_long_may_be_billed_and_is_tried_again(
    endpoint: ScriptedEndpoint, trouble: Scripted
) -> None:
    endpoint.script(trouble)
    endpoint.otherwise = chat_answer("at last")
    async with open_clients(endpoint.base_url, timeout_seconds=0.5) as clients:
        assert (await clients.chat()).content == "at last"
    *timed_out, last = clients.attempts.ends  # on a busy machine the second may take too long as well
    assert set(timed_out) == {"uncertain"}
    assert last == "answered"


async def test_an_answer_is_told_as_it_came_with_what_it_used_and_its_tier(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    answer = answer_json(
        {
            "choices": [{"message": {"content": "hi"}}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5},
            "service_tier": "flex",
        }
    )
    endpoint.script(answer)
    await clients.chat()
    assert clients.attempts.outcomes == [Answered(answer.body, Usage(12, 5), "flex")]


async def test_an_answer_that_does_not_say_what_it_used_is_an_answer(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    answer = answer_json({"choices": [{"message": {"content": "hi"}}]})
    endpoint.script(answer)
    assert (await clients.chat()).usage is None
    assert clients.attempts.outcomes == [Answered(answer.body, None, None)]


async def test_the_usage_of_embeddings_is_told_too(endpoint: ScriptedEndpoint, clients: Clients) -> None:
    answer = embeddings_answer({0: [1.0]}, tokens=3)
    endpoint.script(answer)
    await clients.embedding_client.embeddings(["a"], None, 9, clients.attempts)
    assert clients.attempts.outcomes == [Answered(answer.body, Usage(3), None)]
    assert clients.attempts.sent == [
        Sending(int(endpoint.requests[0].headers["Content-Length"]), max_completion_tokens=None)
    ]


@pytest.mark.parametrize(
    "text",
    ["plain", '"\\/ quoted', "\n\t\r\b\f\0\x1f\x7f", "é夜🌙", "\u2028\ufeff\ufffe", "a" * 100_000],
    ids=lambda text: ascii(text[:10]),
)
async def test_the_size_that_is_booked_is_the_size_that_is_sent(
    endpoint: ScriptedEndpoint, clients: Clients, text: str
) -> None:
    endpoint.script(error(500, "oops"), chat_answer())
    messages = [{"role": "user", "content": text}]
    await clients.chat(messages)
    sizes = [int(request.headers["Content-Length"]) for request in endpoint.requests]
    assert [sending.body_bytes for sending in clients.attempts.sent] == sizes
    assert [request.body["messages"] for request in endpoint.requests] == [messages] * 2


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (error(500, "the database is down"), "HTTP 500: the database is down"),
        (Answer(b"<html>"), "HTTP 200 with a body that is not an answer"),
        (Reset(), "a broken connection"),
    ],
    ids=["500", "200", "reset"],
)
async def test_a_fault_that_does_not_pass_ends_the_request_with_what_how_often_and_the_last_status(
    endpoint: ScriptedEndpoint, clients: Clients, trouble: Scripted, told: str
) -> None:
    endpoint.otherwise = trouble
    attempts = QUICK_RETRIES.attempts
    with pytest.raises(ProviderUnavailable, match=f"chat request failed {attempts} times.*{told}"):
        await clients.chat()
    assert len(endpoint.requests) == attempts
    assert len(clients.attempts.ends) == attempts


async def test_an_endpoint_that_no_one_serves_is_unavailable() -> None:
    async with open_clients("http://127.0.0.1:1/v1") as clients:
        with pytest.raises(ProviderUnavailable, match="a broken connection"):
            await clients.chat()
    assert clients.attempts.ends == ["uncertain"] * QUICK_RETRIES.attempts


@pytest.mark.parametrize(
    "headers",
    [{}, {"retry-after-ms": "5"}, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6ms"}],
    ids=repr,
)
async def test_a_429_is_waited_for_as_often_as_it_comes_and_never_fails(
    endpoint: ScriptedEndpoint, headers: dict[str, str]
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    many = QUICK_RETRIES.attempts + 1
    endpoint.script(*[error(429, "slow down", headers)] * many, error(500, "oops"), chat_answer("at last"))
    throttle = memory_throttle(clock=lambda: sum(waits), sleep=sleep)
    async with open_clients(endpoint.base_url, chat_throttle=throttle) as clients:
        assert (await clients.chat()).content == "at last"
    assert clients.attempts.ends == ["rate_limited"] * many + ["refused", "answered"]
    assert len([seconds for seconds in waits if seconds > 0.001]) == many  # any shorter one is the pace


async def test_a_pause_is_logged_once_for_all_requests_that_it_stops(
    endpoint: ScriptedEndpoint, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    limited = Together(error(429, "slow down", {"retry-after-ms": "30"}), requests=8)
    endpoint.script(*[limited] * 8)
    endpoint.otherwise = chat_answer()
    attempts = [RecordedAttempts() for _ in range(8)]
    await asyncio.gather(*(clients.chat(attempts=each) for each in attempts))
    warnings = [record.getMessage() for record in caplog.records if "429" in record.getMessage()]
    assert warnings == [
        "The provider's rate limit is reached (HTTP 429: slow down): all chat requests wait 0.03 s."
    ]
    assert [each.ends for each in attempts] == [["rate_limited", "answered"]] * 8


async def test_a_pause_that_the_server_names_by_date_stops_the_others_too(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    waits: list[float] = []
    pausing, over = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        pausing.set()
        await over.wait()

    date = format_datetime(datetime.now(UTC) + timedelta(minutes=50), usegmt=True)
    endpoint.script(error(429, "slow down", {"Retry-After": date}), chat_answer(), chat_answer())
    throttle = memory_throttle(clock=lambda: now, sleep=sleep)
    async with open_clients(endpoint.base_url, chat_throttle=throttle) as clients:
        tasks = [asyncio.create_task(clients.chat(attempts=RecordedAttempts()))]
        await pausing.wait()
        tasks.append(asyncio.create_task(clients.chat(attempts=RecordedAttempts())))
        await asyncio.sleep(0)
        assert len(endpoint.requests) == 1
        now = 700.0
        over.set()
        await asyncio.gather(*tasks)
    assert waits == [ASK_AGAIN_SECONDS]  # it looks again that often
    assert "wait 600 s, although it asked for" in caplog.text


@pytest.mark.parametrize("waits_for", ["the answer", "a slot", "the end of a pause", "the next attempt"])
async def test_cancelling_goes_through_at_once(endpoint: ScriptedEndpoint, waits_for: str) -> None:
    throttle = memory_throttle(waits=(500,), max_in_flight=1)
    scripted: Scripted = Hang()
    if waits_for == "the end of a pause":
        scripted = error(429, "slow down")
    if waits_for == "the next attempt":
        scripted = error(503, "closed", {"Retry-After": "500"})
    endpoint.otherwise = scripted
    async with open_clients(endpoint.base_url, chat_throttle=throttle) as clients:
        heard = [RecordedAttempts()]
        tasks = [asyncio.create_task(clients.chat(attempts=heard[0]))]
        await endpoint.arrived.wait()
        if waits_for == "a slot":
            heard.insert(0, RecordedAttempts())
            tasks.insert(0, asyncio.create_task(clients.chat(attempts=heard[0])))
            await asyncio.sleep(0)
        await asyncio.wait(tasks, timeout=0.05)  # the answer may arrive; whatever is waited for then
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert throttle.in_flight == 0
    assert len(endpoint.requests) == 1
    ends = {"the end of a pause": ["rate_limited"], "the next attempt": ["refused"]}
    if waits_for in ends:
        assert heard[0].ends == ends[waits_for]
    else:  # whoever cancels a request that is under way closes its account: nothing is told of it
        assert [[type(event) for event in each.events] for each in heard] == [
            *([[]] if waits_for == "a slot" else []),
            [Sending],
        ]


class CapReached(Exception):
    """What whoever pays may raise."""


async def test_what_forbids_a_sending_keeps_it_from_leaving_and_gives_its_slot_back(
    endpoint: ScriptedEndpoint,
) -> None:
    throttle = memory_throttle(max_in_flight=1)
    endpoint.otherwise = chat_answer("hi")
    async with open_clients(endpoint.base_url, chat_throttle=throttle) as clients:
        with pytest.raises(CapReached):
            await clients.chat(attempts=RecordedAttempts(forbidden=CapReached()))
        assert endpoint.requests == []
        assert throttle.in_flight == 0
        assert (await clients.chat()).content == "hi"


async def test_what_forbids_the_second_sending_keeps_it_from_leaving_too(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    def fails_and_closes_the_purse(_: object) -> Answer:
        clients.attempts.forbidden = CapReached()
        return error(500, "oops")

    endpoint.otherwise = fails_and_closes_the_purse
    with pytest.raises(CapReached):
        await clients.chat()
    assert len(endpoint.requests) == 1
    assert clients.attempts.ends == ["refused"]


async def test_a_request_that_is_cancelled_while_its_sending_is_booked_does_not_leave(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    booking = asyncio.Event()

    class SlowBooking(RecordedAttempts):
        async def sending(self, *, body_bytes: int, max_completion_tokens: int | None) -> None:
            booking.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(clients.chat(attempts=SlowBooking()))
    await booking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert endpoint.requests == []


async def test_more_than_five_hundred_requests_are_in_flight_at_once(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = Hang()
    throttle = memory_throttle(max_in_flight=512)
    async with open_clients(endpoint.base_url, chat_throttle=throttle) as clients:
        tasks = [asyncio.create_task(clients.chat(attempts=RecordedAttempts())) for _ in range(520)]
        while len(endpoint.requests) < 512:
            endpoint.arrived.clear()
            await endpoint.arrived.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class ObservedThrottle(Throttle):
    """A throttle that notes what it is told about tokens and 429s."""

    def __init__(self, **arguments: Any) -> None:
        from tests.support.memory_limit_store import MemoryLimitStore

        super().__init__(MemoryLimitStore(requests_per_minute=600_000, waits=(0.01,)), **arguments)
        self.settled: list[tuple[float, int, int]] = []
        self.rate_limits = 0

    def settle(self, reservation: Reservation, prompt_tokens: int, completion_tokens: int) -> None:
        self.settled.append((reservation.tokens, prompt_tokens, completion_tokens))
        super().settle(reservation, prompt_tokens, completion_tokens)

    async def rate_limited(self, *arguments: Any) -> Any:
        self.rate_limits += 1
        return await super().rate_limited(*arguments)


async def test_the_tokens_that_were_used_settle_those_that_were_reserved(endpoint: ScriptedEndpoint) -> None:
    chat_throttle, embedding_throttle = ObservedThrottle(), ObservedThrottle()
    endpoint.script(chat_answer(), embeddings_answer({0: [1.0]}, tokens=3))
    async with open_clients(
        endpoint.base_url, chat_throttle=chat_throttle, embedding_throttle=embedding_throttle
    ) as clients:
        await clients.chat()
        await clients.embedding_client.embeddings(["a"], None, 9, clients.attempts)
    # Before it is known how a provider counts, a chat request reserves its limit and its likely answer.
    assert chat_throttle.settled == [(MAX_COMPLETION_TOKENS + 5, 12, 5)]
    assert embedding_throttle.settled == [(9, 3, 0)]


async def test_an_answer_that_does_not_say_what_it_used_settles_nothing(endpoint: ScriptedEndpoint) -> None:
    throttle = ObservedThrottle()
    endpoint.script(answer_json({"choices": [{}]}))
    async with open_clients(endpoint.base_url, chat_throttle=throttle) as clients:
        await clients.chat()
    assert throttle.settled == []


# --- The tier flex without capacity -----------------------------------------------------------------


async def test_flex_without_capacity_is_asked_again_and_neither_billed_nor_a_rate_limit(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "test")
    throttle = ObservedThrottle()
    many = QUICK_RETRIES.attempts + 2  # more often than an outage may last
    endpoint.script(*[NO_CAPACITY] * many, chat_answer("at last"))
    async with open_clients(endpoint.base_url, options=FLEX, chat_throttle=throttle) as clients:
        assert (await clients.chat()).content == "at last"
    assert clients.attempts.ends == ["refused"] * many + ["answered"]
    assert clients.chat_sender.tier_refusals == many
    assert throttle.rate_limits == 0
    assert "no capacity in the tier 'flex' (HTTP 429: Resource Unavailable)" in caplog.text
    assert "rate limit is reached" not in caplog.text


async def test_flex_that_stays_without_capacity_ends_the_request_as_an_outage(
    endpoint: ScriptedEndpoint,
) -> None:
    endpoint.otherwise = NO_CAPACITY
    retries = Retries(backoff_seconds=0.001, flex_attempts=7)
    async with open_clients(endpoint.base_url, options=FLEX, retries=retries) as clients:
        with pytest.raises(ProviderUnavailable, match=r"failed 7 times.*no capacity in the tier 'flex'"):
            await clients.chat()
    assert clients.attempts.ends == ["refused"] * 7
    assert clients.chat_sender.tier_refusals == 7


async def test_a_request_that_waits_for_flex_keeps_no_other_from_its_slot(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(error(429, "Resource Unavailable", {"Retry-After": "500"}), chat_answer("other"))
    throttle = memory_throttle(max_in_flight=1)
    async with open_clients(endpoint.base_url, options=FLEX, chat_throttle=throttle) as clients:
        waiting = asyncio.create_task(clients.chat())
        await endpoint.arrived.wait()
        assert (await clients.chat(attempts=RecordedAttempts())).content == "other"
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert throttle.in_flight == 0
    assert clients.attempts.ends == ["refused"]


async def test_the_rate_limit_of_flex_is_a_rate_limit(endpoint: ScriptedEndpoint) -> None:
    throttle = ObservedThrottle()
    endpoint.script(error(429, "Rate limit reached", code="rate_limit_exceeded"), chat_answer())
    async with open_clients(endpoint.base_url, options=FLEX, chat_throttle=throttle) as clients:
        await clients.chat()
    assert clients.attempts.ends == ["rate_limited", "answered"]
    assert (throttle.rate_limits, clients.chat_sender.tier_refusals) == (1, 0)


async def test_the_same_words_about_a_request_for_no_tier_are_a_rate_limit(
    endpoint: ScriptedEndpoint,
) -> None:
    throttle = ObservedThrottle()
    endpoint.script(NO_CAPACITY, chat_answer())
    async with open_clients(endpoint.base_url, chat_throttle=throttle) as clients:
        await clients.chat()
    assert clients.attempts.ends == ["rate_limited", "answered"]
    assert (throttle.rate_limits, clients.chat_sender.tier_refusals) == (1, 0)


async def test_flex_without_quota_is_fatal(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = error(429, "resource_unavailable", code="insufficient_quota")
    async with open_clients(endpoint.base_url, options=FLEX) as clients:
        with pytest.raises(FatalError, match="no quota"):
            await clients.chat()


async def test_the_waits_double_with_jitter_up_to_a_bound(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The one source of chance is set to its upper end, so that the bounds themselves are seen."""
    caplog.set_level(logging.INFO, "test")
    endpoint.otherwise = NO_CAPACITY
    retries = Retries(
        backoff_seconds=0.001, max_backoff_seconds=0.005, flex_attempts=6, jitter=lambda _, longest: longest
    )
    async with open_clients(endpoint.base_url, options=FLEX, retries=retries) as clients:
        with pytest.raises(ProviderUnavailable):
            await clients.chat()
    waits = [record.args[2] for record in caplog.records if isinstance(record.args, tuple)]
    assert waits == [0.001, 0.002, 0.004, 0.005, 0.005]


async def test_a_refusal_after_a_lack_of_capacity_is_still_a_refusal(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(NO_CAPACITY, error(400, "Invalid value"))
    async with open_clients(endpoint.base_url, options=FLEX) as clients:
        with pytest.raises(RequestRefused):
            await clients.chat()
    assert clients.attempts.ends == ["refused", "refused"]

"""Endpoints that refuse parts of a chat request, in whatever words: requests are sent without these alone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aboutness_assets.domain.errors import ContentFiltered, FatalError, ProviderUnavailable, RequestRefused
from aboutness_assets.provider.capability_store import CapabilityStore
from aboutness_assets.provider.chat import ChatOptions
from tests.support.memory_capability_store import MemoryCapabilityStore
from tests.support.provider_clients import (
    MAX_COMPLETION_TOKENS,
    MESSAGES,
    SCHEMA,
    Clients,
    Lost,
    RecordedAttempts,
    Sending,
    open_clients,
)
from tests.support.scripted_endpoint import (
    Answer,
    Hang,
    Recorded,
    ScriptedEndpoint,
    Together,
    chat_answer,
    error,
)

PARTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "json_schema": lambda body: body.get("response_format", {}).get("type") == "json_schema",
    "json_object": lambda body: body.get("response_format", {}).get("type") == "json_object",
    "reasoning_effort": lambda body: "reasoning_effort" in body,
    "max_completion_tokens": lambda body: "max_completion_tokens" in body,
    "max_tokens": lambda body: "max_tokens" in body,
    "system": lambda body: any(message["role"] != "user" for message in body["messages"]),
}
"""Whether a request has an optional part."""

SAYS_NOTHING = error(400, "Invalid argument.")
MAX_REQUESTS = 12
"""For one request, whatever is refused."""

HARMLESS = "harmless"


@pytest.fixture
async def clients(endpoint: ScriptedEndpoint) -> AsyncIterator[Clients]:
    """Clients of an endpoint of which nothing is known."""
    async with open_new(endpoint) as clients:
        yield clients


def open_new(
    endpoint: ScriptedEndpoint, store: CapabilityStore | None = None, **arguments: Any
) -> AbstractAsyncContextManager[Clients]:
    """Clients of an endpoint of which only what the store holds is known."""
    return open_clients(
        endpoint.base_url, chat_store=store or MemoryCapabilityStore(), harmless=True, **arguments
    )


def parts_of(request: Recorded) -> set[str]:
    return {name for name, has in PARTS.items() if has(request.body)}


def refuses(*names: str, refusal: Answer | None = None) -> Callable[[Recorded], Answer]:
    """Answers every request that has none of these parts; ``refusal``: what it says, else the part's name."""

    def answer(request: Recorded) -> Answer:
        found = [name for name in names if name in parts_of(request)]
        if not found:
            return chat_answer()
        return refusal or error(400, f"Unknown parameter: {found[0]}.", param=found[0])

    return answer


def expected_parts(refused: Sequence[str]) -> set[str]:
    """What a request has at an endpoint that refuses these parts."""
    parts = {"reasoning_effort", "system"} - set(refused)
    for alternatives in (("json_schema", "json_object"), ("max_completion_tokens", "max_tokens")):
        parts |= set([name for name in alternatives if name not in refused][:1])
    return parts


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def ask_at_once(clients: Clients, number: int) -> list[RecordedAttempts]:
    """Several chat requests under way together, and what each of them told."""
    attempts = [RecordedAttempts() for _ in range(number)]
    await asyncio.gather(*(clients.chat(attempts=each) for each in attempts))
    return attempts


@pytest.mark.parametrize(
    ("refused", "warning"),
    [
        (["json_schema"], "refuses json_schema; from now on a json_object is asked for"),
        (["json_schema", "json_object"], "refuses json_schema and json_object; from now on the prompt alone"),
        (["reasoning_effort"], "refuses reasoning_effort 'none'; from now on it is not sent"),
        (["max_completion_tokens"], "refuses max_completion_tokens; from now on max_tokens is sent instead"),
        (["max_completion_tokens", "max_tokens"], "from now on answers have no limit, so what a request can"),
        (["system"], "refuses a system message; from now on the user message begins with what it says"),
    ],
)
@pytest.mark.parametrize("refusal", [None, SAYS_NOTHING])
async def test_a_part_that_is_refused_is_left_out_by_itself_from_then_on(
    endpoint: ScriptedEndpoint,
    clients: Clients,
    caplog: pytest.LogCaptureFixture,
    refused: list[str],
    warning: str,
    refusal: Answer | None,
) -> None:
    endpoint.otherwise = refuses(*refused, refusal=refusal)
    told = await ask_at_once(clients, 5)
    await clients.chat()
    assert parts_of(endpoint.requests[-1]) == expected_parts(refused)
    assert clients.attempts.ends == ["answered"]
    assert len([end for each in told for end in each.ends if end != "answered"]) <= MAX_REQUESTS
    assert [each.ends for each in told[1:]] == [["answered"]] * 4  # they waited for the first
    [only] = warnings(caplog)
    assert warning in only


REFUSALS = {
    "gemini $defs": (error(400, 'Invalid JSON payload received. Unknown name "$defs"'), "json_schema"),
    "gemini states": (error(400, "The schema produces too many states for serving."), "json_schema"),
    "llama.cpp": (error(400, "failed to parse grammar"), "json_schema"),
    "xgrammar": (error(500, "compiler error in guided decoding"), "json_schema"),
    "as a flat error": (Answer(b'{"detail":"Unsupported response_format"}', 422), "json_schema"),
    "as an array": (Answer(b'[{"error":{"code":400,"message":"Bad Request"}}]', 400), "json_schema"),
    "a page": (Answer(b"<html><h1>415 Unsupported Media Type</h1></html>", 415), "json_schema"),
    "thinking": (error(400, '"gemma" does not support thinking'), "reasoning_effort"),
    "budget": (
        error(400, "Budget 0 is invalid. This model only thinks."),
        "reasoning_effort",
    ),
    "not implemented": (error(501, "Not implemented"), "reasoning_effort"),
    "not found": (error(404, "Not Found"), "reasoning_effort"),
    "method": (Answer(b"Method Not Allowed", 405), "reasoning_effort"),
    "extra": (error(422, "Extra inputs are not permitted"), "max_completion_tokens"),
    "nothing": (Answer(b"", 400), "max_completion_tokens"),
    "gemma": (error(400, "System role not supported"), "system"),
    "template": (error(500, "Conversation roles must alternate user/assistant"), "system"),
    "internal": (error(500, "Internal Server Error"), "system"),
}


@pytest.mark.parametrize(("refusal", "refused"), REFUSALS.values(), ids=REFUSALS)
async def test_a_part_is_found_whatever_status_and_words_refuse_it(
    endpoint: ScriptedEndpoint, clients: Clients, refusal: Answer, refused: str
) -> None:
    endpoint.otherwise = refuses(refused, refusal=refusal)
    for _ in range(8):
        await clients.chat()
    assert parts_of(endpoint.requests[-1]) == expected_parts([refused])
    refusals = [end for end in clients.attempts.ends if end != "answered"]
    assert len(refusals) <= MAX_REQUESTS


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    refused=st.sets(st.sampled_from(list(PARTS))).map(sorted),
    status=st.sampled_from([400, 404, 405, 415, 422, 501]),
    message=st.sampled_from(["", "Bad Request", "the system failed", "unexpected json_schema or max_tokens"]),
)
async def test_any_parts_that_are_refused_together_are_found(
    endpoint: ScriptedEndpoint, refused: list[str], status: int, message: str
) -> None:
    endpoint.requests.clear()
    endpoint.otherwise = refuses(*refused, refusal=error(status, message))
    async with open_new(endpoint) as clients:
        for _ in range(14):
            before = len(endpoint.requests)
            await clients.chat()
            assert len(endpoint.requests) - before <= MAX_REQUESTS
        assert parts_of(endpoint.requests[-1]) == expected_parts(refused)
        assert clients.attempts.ends.count("answered") == 14
        assert len(clients.attempts.ends) <= 14 + 2 * MAX_REQUESTS


async def test_another_process_starts_with_what_the_first_one_found(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryCapabilityStore()
    endpoint.otherwise = refuses("json_schema", "system", refusal=SAYS_NOTHING)
    async with open_new(endpoint, store) as first:
        for _ in range(8):
            await first.chat()
    endpoint.requests.clear()
    caplog.clear()
    caplog.set_level(logging.INFO)
    async with open_new(endpoint, store) as second:
        await ask_at_once(second, 3)
    assert [parts_of(request) for request in endpoint.requests] == [
        expected_parts(["json_schema", "system"])
    ] * 3
    said = [record.getMessage() for record in caplog.records if record.name == "test"]
    assert sorted(sentence.partition(";")[0] for sentence in said) == [
        "The endpoint refuses a system message",
        "The endpoint refuses json_schema",
    ]


async def test_what_was_found_for_one_effort_is_not_taken_for_another(endpoint: ScriptedEndpoint) -> None:
    store = MemoryCapabilityStore()
    endpoint.otherwise = lambda request: (
        error(400, "Budget 0 is invalid.")
        if request.body.get("reasoning_effort") == "none"
        else chat_answer()
    )
    async with open_new(endpoint, store) as first:
        await first.chat()
    async with open_new(endpoint, store, options=ChatOptions("low")) as second:
        await second.chat()
    assert endpoint.requests[-1].body["reasoning_effort"] == "low"
    assert len(endpoint.requests) == 3


async def test_once_a_part_was_taken_a_refusal_is_about_that_request_alone(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    refusal = error(400, "Unsupported: response_format, reasoning_effort, system")
    endpoint.script(chat_answer(), refusal, chat_answer())
    await clients.chat()
    with pytest.raises(RequestRefused, match="Unsupported"):
        await clients.chat()
    await clients.chat()
    assert [parts_of(request) for request in endpoint.requests] == [expected_parts([])] * 3


@pytest.mark.parametrize(
    ("refusal", "kind", "requests"),
    [
        (error(400, "blocked", code="content_filter"), ContentFiltered, 4),
        (error(400, "The prompt was flagged by our safety system."), RequestRefused, MAX_REQUESTS),
        (SAYS_NOTHING, RequestRefused, MAX_REQUESTS),
        (error(404, "no such page"), RequestRefused, MAX_REQUESTS),
    ],
)
async def test_a_request_that_is_refused_for_its_words_before_anything_was_answered_changes_no_form(
    endpoint: ScriptedEndpoint, clients: Clients, refusal: Answer, kind: type[Exception], requests: int
) -> None:
    endpoint.otherwise = lambda request: (
        chat_answer() if HARMLESS in str(request.body["messages"]) else refusal
    )
    with pytest.raises(kind) as raised:
        await clients.chat()
    assert not isinstance(raised.value, FatalError)
    assert len(endpoint.requests) <= requests
    assert parts_of(endpoint.requests[-2]) == set()  # refused in the plainest form too
    assert parts_of(endpoint.requests[-1]) == expected_parts([])  # the harmless request
    assert clients.attempts.ends == ["refused"] * (len(endpoint.requests) - 1) + ["uncertain"]
    last = clients.attempts.outcomes[-1]
    assert isinstance(last, Lost)  # it is no answer to what was asked, but it is billed
    assert last.usage is not None
    endpoint.otherwise = chat_answer()
    await clients.chat()
    assert parts_of(endpoint.requests[-1]) == expected_parts([])


async def test_a_refused_request_at_an_endpoint_that_refuses_a_part_too_is_told_apart(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    def answer(request: Recorded) -> Answer:
        if "reasoning_effort" in request.body:
            return SAYS_NOTHING
        if "bad" in request.body["messages"][-1]["content"]:
            return error(400, "Bad words.")
        return chat_answer()

    endpoint.otherwise = answer
    with pytest.raises(RequestRefused, match="Bad words"):
        await clients.chat([MESSAGES[0], {"role": "user", "content": "bad"}])
    for _ in range(6):
        await clients.chat()
    assert parts_of(endpoint.requests[-1]) == expected_parts(["reasoning_effort"])


@pytest.mark.parametrize("refusal", [SAYS_NOTHING, error(404, "The model `gpt-test` does not exist")])
async def test_an_endpoint_that_refuses_a_harmless_request_too_stops_the_run_in_its_own_words(
    endpoint: ScriptedEndpoint, clients: Clients, refusal: Answer
) -> None:
    endpoint.otherwise = refusal
    words = "Invalid argument" if refusal is SAYS_NOTHING else "does not exist"
    with pytest.raises(FatalError, match=words):
        await clients.chat()
    assert len(endpoint.requests) <= MAX_REQUESTS
    assert all(HARMLESS in str(request.body["messages"]) for request in endpoint.requests[-2:])
    assert set(clients.attempts.ends) == {"refused"}


@pytest.mark.parametrize("status", [500, 501, 502, 503])
async def test_an_outage_is_no_refusal_of_a_part(
    endpoint: ScriptedEndpoint, clients: Clients, status: int
) -> None:
    endpoint.otherwise = error(status, "oops")
    with pytest.raises(ProviderUnavailable, match="failed 5 times in a row"):
        await clients.chat()
    assert len(endpoint.requests) == 5
    endpoint.otherwise = chat_answer()
    await clients.chat()
    assert parts_of(endpoint.requests[-1]) == expected_parts([])


async def test_a_fault_that_passes_leaves_nothing_out_in_the_end(
    endpoint: ScriptedEndpoint, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.script(error(500, "oops"), error(500, "oops"))
    endpoint.otherwise = chat_answer()
    for _ in range(6):
        await clients.chat()
    assert parts_of(endpoint.requests[-1]) == expected_parts([])
    assert warnings(caplog) == []


async def test_nobody_waits_for_a_request_that_is_worked_on(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = Together(chat_answer(), requests=4)
    async with open_new(endpoint, patience_seconds=0.01) as clients:
        await ask_at_once(clients, 4)


async def test_nobody_waits_for_a_request_that_meets_an_outage(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(error(503, "oops"), Hang())
    endpoint.otherwise = chat_answer()
    async with open_new(endpoint) as clients:
        first = asyncio.create_task(clients.chat())
        while len(endpoint.requests) < 2:
            endpoint.arrived.clear()
            await endpoint.arrived.wait()
        await ask_at_once(clients, 3)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_without_a_system_message_the_user_message_holds_the_instructions_and_then_the_document(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = refuses("system")
    await clients.chat()
    assert endpoint.requests[-1].body["messages"] == [
        {"role": "user", "content": "Be brief.\n\n" + MESSAGES[1]["content"]}
    ]


async def test_the_limit_of_an_answers_length_is_sent_and_booked(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.script(chat_answer())
    await clients.chat(max_completion_tokens=123)
    assert endpoint.requests[0].body["max_completion_tokens"] == 123
    assert "max_tokens" not in endpoint.requests[0].body
    assert [sending.max_completion_tokens for sending in clients.attempts.sent] == [123]


async def test_what_is_booked_is_what_each_sending_really_is(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = refuses("max_completion_tokens", "reasoning_effort", "max_tokens")
    await clients.chat()
    assert len(endpoint.requests) == 4
    assert clients.attempts.sent == [
        Sending(
            int(request.headers["Content-Length"]),
            request.body.get("max_completion_tokens") or request.body.get("max_tokens"),
        )
        for request in endpoint.requests
    ]
    assert endpoint.requests[-1].body.get("response_format") == SCHEMA
    assert clients.attempts.sent[0].max_completion_tokens == MAX_COMPLETION_TOKENS


async def test_a_refusal_of_the_tier_names_the_setting_and_is_fatal(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = error(400, "Invalid service_tier argument", param="service_tier")
    async with open_new(endpoint, options=ChatOptions("none", "flex")) as clients:
        with pytest.raises(FatalError, match=r"'gpt-test'.*'flex'.*ABOUTNESS_TIER=standard"):
            await clients.chat()
    assert clients.attempts.ends == ["refused"]
    assert len(endpoint.requests) == 1


async def test_a_tier_that_was_asked_for_is_never_left_out(endpoint: ScriptedEndpoint) -> None:
    endpoint.otherwise = refuses("json_schema", "system", refusal=SAYS_NOTHING)
    async with open_new(endpoint, options=ChatOptions("low", "flex")) as clients:
        for _ in range(6):
            await clients.chat()
    assert {request.body["service_tier"] for request in endpoint.requests} == {"flex"}

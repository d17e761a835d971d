"""Parts of a chat request that an endpoint was seen to refuse: each is left out by itself, from then on."""

import asyncio
import logging
from typing import Any

import pytest

from aboutness_assets.domain.errors import FatalError, RequestRefused
from aboutness_assets.provider.capabilities import Capabilities
from aboutness_assets.provider.chat import ChatOptions
from tests.support.provider_clients import (
    MAX_COMPLETION_TOKENS,
    SCHEMA,
    Clients,
    RecordedAttempts,
    Sending,
    open_clients,
)
from tests.support.scripted_endpoint import Answer, Recorded, ScriptedEndpoint, chat_answer, error

NO_MAX_COMPLETION_TOKENS = error(
    400, "Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens'.", param="max_completion_tokens"
)


def refuses(*names: str) -> Any:
    """Answers every request, unless it has one of these parameters: the first of them is refused."""

    def answer(request: Recorded) -> Answer:
        found = next((name for name in names if name in request.body), None)
        return chat_answer() if found is None else error(400, f"Unknown parameter: {found}.", param=found)

    return answer


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def ask_at_once(clients: Clients, number: int) -> list[RecordedAttempts]:
    """Several chat requests under way together, and what each of them told."""
    attempts = [RecordedAttempts() for _ in range(number)]
    await asyncio.gather(*(clients.chat(attempts=each) for each in attempts))
    return attempts


async def test_an_endpoint_that_refuses_json_schema_is_asked_for_a_json_object_from_then_on(
    endpoint: ScriptedEndpoint, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Recorded) -> Answer:
        if request.body["response_format"]["type"] == "json_schema":
            return error(400, "This model does not support it.", param="response_format")
        return chat_answer()

    endpoint.otherwise = answer
    told = await ask_at_once(clients, 5)
    await clients.chat()
    formats = [request.body["response_format"]["type"] for request in endpoint.requests]
    assert formats[-1] == "json_object"
    assert formats.count("json_object") == 6
    assert all(request.body["max_completion_tokens"] for request in endpoint.requests)
    assert warnings(caplog) == ["The endpoint refuses json_schema; from now on a json_object is asked for."]
    assert {tuple(each.ends) for each in told} <= {("refused", "answered"), ("answered",)}
    assert clients.attempts.ends == ["answered"]


async def test_an_endpoint_that_refuses_reasoning_effort_is_no_longer_sent_it(
    endpoint: ScriptedEndpoint, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.script(error(400, "Unsupported parameter: 'reasoning_effort'."), chat_answer(), chat_answer())
    await clients.chat()
    await clients.chat()
    assert ["reasoning_effort" in request.body for request in endpoint.requests] == [True, False, False]
    assert all(request.body["response_format"] == SCHEMA for request in endpoint.requests)
    assert warnings(caplog) == ["The endpoint refuses reasoning_effort 'none'; from now on it is not sent."]
    assert clients.attempts.ends == ["refused", "answered", "answered"]


async def test_an_endpoint_that_refuses_even_a_json_object_refuses_the_request(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = error(400, "response_format is unknown here")
    with pytest.raises(RequestRefused, match="response_format is unknown here"):
        await clients.chat()
    assert len(endpoint.requests) == 2
    assert clients.attempts.ends == ["refused", "refused"]


async def test_the_limit_of_an_answers_length_is_sent_and_booked(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.script(chat_answer())
    await clients.chat(max_completion_tokens=123)
    assert endpoint.requests[0].body["max_completion_tokens"] == 123
    assert "max_tokens" not in endpoint.requests[0].body
    assert [sending.max_completion_tokens for sending in clients.attempts.sent] == [123]


async def test_an_endpoint_that_refuses_the_limit_gets_it_by_its_older_name_from_then_on(
    endpoint: ScriptedEndpoint, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.otherwise = refuses("max_completion_tokens")
    told = await ask_at_once(clients, 5)
    await clients.chat()
    *_, last = endpoint.requests
    assert last.body["max_tokens"] == MAX_COMPLETION_TOKENS
    assert "max_completion_tokens" not in last.body
    assert warnings(caplog) == [
        "The endpoint refuses max_completion_tokens; from now on max_tokens is sent instead."
    ]
    assert {tuple(each.ends) for each in told} <= {("refused", "answered"), ("answered",)}
    assert [each.max_completion_tokens for each in clients.attempts.sent] == [MAX_COMPLETION_TOKENS]


async def test_an_endpoint_that_refuses_both_names_gets_no_limit_and_its_requests_are_booked_without_one(
    endpoint: ScriptedEndpoint, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.otherwise = refuses("max_completion_tokens", "max_tokens")
    await clients.chat()
    await clients.chat()
    sent = [
        request.body.get("max_completion_tokens") or request.body.get("max_tokens")
        for request in endpoint.requests
    ]
    assert sent == [MAX_COMPLETION_TOKENS, MAX_COMPLETION_TOKENS, None, None]
    assert [each.max_completion_tokens for each in clients.attempts.sent] == sent
    assert clients.attempts.ends == ["refused", "refused", "answered", "answered"]
    assert warnings(caplog) == [
        "The endpoint refuses max_completion_tokens; from now on max_tokens is sent instead.",
        "The endpoint refuses max_tokens; from now on answers have no limit, so what a request can cost at "
        "most is an estimate.",
    ]


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


async def test_a_refusal_of_the_tier_names_the_setting_and_is_fatal(
    endpoint: ScriptedEndpoint,
) -> None:
    endpoint.otherwise = error(400, "Invalid service_tier argument", param="service_tier")
    async with open_clients(endpoint.base_url, options=ChatOptions("none", "flex")) as clients:
        with pytest.raises(FatalError, match=r"'gpt-test'.*'flex'.*ABOUTNESS_TIER=standard"):
            await clients.chat()
    assert clients.attempts.ends == ["refused"]
    assert len(endpoint.requests) == 1


async def test_a_refusal_that_speaks_of_a_tier_nobody_asked_for_is_a_refusal(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = error(400, "service_tier is odd here")
    with pytest.raises(RequestRefused):
        await clients.chat()


async def test_every_part_is_refused_by_itself_whatever_the_order(
    endpoint: ScriptedEndpoint,
) -> None:
    endpoint.otherwise = refuses("reasoning_effort", "max_completion_tokens")
    async with open_clients(endpoint.base_url, options=ChatOptions("low", "flex")) as clients:
        await clients.chat()
    *_, last = endpoint.requests
    assert last.body.keys() == {"model", "messages", "response_format", "max_tokens", "service_tier"}
    assert clients.attempts.ends == ["refused", "refused", "answered"]


def test_what_is_wanted_is_never_changed() -> None:
    capabilities = Capabilities(logging.getLogger("test"))
    wanted = {"response_format": SCHEMA, "reasoning_effort": "none", "max_completion_tokens": 7}
    before = dict(wanted)
    assert capabilities.adapt(wanted) == wanted
    for refusal in ("response_format", "reasoning_effort", "max_tokens", "max_tokens"):
        assert capabilities.disable_unsupported_parameter(refusal, capabilities.adapt(wanted))
    assert capabilities.adapt(wanted) == {"response_format": {"type": "json_object"}}
    assert wanted == before


@pytest.mark.parametrize("refusal", ["", "Invalid value", "model_not_found", "too many tokens"])
def test_a_refusal_of_something_else_changes_nothing(refusal: str) -> None:
    capabilities = Capabilities(logging.getLogger("test"))
    wanted = {"response_format": SCHEMA, "reasoning_effort": "none", "max_completion_tokens": 7}
    assert not capabilities.disable_unsupported_parameter(refusal, wanted)
    assert capabilities.adapt(wanted) == wanted

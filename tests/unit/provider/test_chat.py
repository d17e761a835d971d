"""The bodies of chat and embedding requests as they arrive."""

import asyncio

import pytest

from aboutness_assets.provider.chat import LONGEST_LIMIT_FACTOR, REASONING_TOKENS, ChatOptions
from aboutness_assets.provider.wire import NoVector
from tests.support.provider_clients import (
    KEY,
    MAX_COMPLETION_TOKENS,
    MESSAGES,
    SCHEMA,
    Answered,
    Clients,
    RecordedAttempts,
    open_clients,
)
from tests.support.scripted_endpoint import (
    ScriptedEndpoint,
    Together,
    answer_json,
    base64_vector,
    chat_answer,
    embeddings_answer,
)


async def test_a_chat_request_carries_model_messages_format_effort_and_limit_and_nothing_else(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    answer = chat_answer("hi")
    endpoint.script(answer)
    chat = await clients.chat()
    [request] = endpoint.requests
    assert request.path == "/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "gpt-test",
        "messages": MESSAGES,
        "response_format": SCHEMA,
        "reasoning_effort": "none",
        "max_completion_tokens": MAX_COMPLETION_TOKENS,
    }
    assert chat.content == "hi"
    assert clients.attempts.outcomes == [Answered(answer.body, chat.usage, None)]


async def test_the_clients_name_their_models(clients: Clients) -> None:
    assert (clients.chat_client.model, clients.embedding_client.model) == ("gpt-test", "embed-test")


async def test_an_empty_reasoning_effort_is_not_sent(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat_answer())
    async with open_clients(endpoint.base_url, options=ChatOptions("")) as clients:
        await clients.chat()
    assert "reasoning_effort" not in endpoint.requests[0].body


@pytest.mark.parametrize("tier", ["", "flex"])
async def test_a_tier_is_sent_where_one_is_asked_for(endpoint: ScriptedEndpoint, tier: str) -> None:
    endpoint.script(chat_answer())
    async with open_clients(endpoint.base_url, options=ChatOptions("none", tier)) as clients:
        await clients.chat()
    assert ("service_tier" in endpoint.requests[0].body) == bool(tier)
    assert endpoint.requests[0].body.get("service_tier", "") == tier


@pytest.mark.parametrize("effort", ["", "low"])
async def test_a_model_that_may_think_first_gets_room_for_its_thoughts(
    endpoint: ScriptedEndpoint, effort: str
) -> None:
    endpoint.script(chat_answer())
    async with open_clients(endpoint.base_url, options=ChatOptions(effort)) as clients:
        await clients.chat()
    limit = MAX_COMPLETION_TOKENS + REASONING_TOKENS
    assert endpoint.requests[0].body["max_completion_tokens"] == limit
    assert [sending.max_completion_tokens for sending in clients.attempts.sent] == [limit]


async def test_an_answer_that_its_limit_cut_doubles_the_limit_of_those_to_come_up_to_a_bound(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = answer_json({"choices": [{"finish_reason": "length", "message": {"content": "{"}}]})
    for _ in range(6):
        await clients.chat()
    limits = [request.body["max_completion_tokens"] for request in endpoint.requests]
    assert limits == [MAX_COMPLETION_TOKENS * factor for factor in (1, 2, 4, 8, LONGEST_LIMIT_FACTOR, 16)]
    assert [sending.max_completion_tokens for sending in clients.attempts.sent] == limits


async def test_answers_that_were_cut_together_double_the_limit_once(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    cut = answer_json({"choices": [{"finish_reason": "length", "message": {"content": "{"}}]})
    endpoint.script(*[Together(cut, requests=3)] * 3, chat_answer())
    await asyncio.gather(*(clients.chat(attempts=RecordedAttempts()) for _ in range(3)))
    await clients.chat()
    limits = [request.body["max_completion_tokens"] for request in endpoint.requests]
    assert limits == [MAX_COMPLETION_TOKENS] * 3 + [2 * MAX_COMPLETION_TOKENS]


async def test_an_embedding_request_carries_its_texts_and_asks_for_base64(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.script(embeddings_answer({2: base64_vector([3, 4]), 0: base64_vector([1, 2])}, tokens=11))
    answer = await clients.embedding_client.embeddings(["a", "b", "c"], 2, 3, clients.attempts)
    [request] = endpoint.requests
    assert request.path == "/embeddings"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "embed-test",
        "input": ["a", "b", "c"],
        "encoding_format": "base64",
        "dimensions": 2,
    }
    vectors = [None if isinstance(vector, NoVector) else vector.tolist() for vector in answer.vectors]
    assert vectors == [[1, 2], None, [3, 4]]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 11


async def test_dimensions_are_not_sent_where_none_are_given(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.script(embeddings_answer({0: base64_vector([1])}))
    await clients.embedding_client.embeddings(["a"], None, 1, clients.attempts)
    assert "dimensions" not in endpoint.requests[0].body

"""How many texts an endpoint takes in one embedding request is found out once, by halving."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from aboutness_assets.domain.errors import ProviderUnavailable
from aboutness_assets.provider.embedder import FAILURES_BEFORE_HALVING, Embedder
from aboutness_assets.provider.wire import NoVector
from tests.support.memory_capability_store import MemoryCapabilityStore
from tests.support.provider_clients import Clients, RecordedAttempts, open_clients
from tests.support.scripted_endpoint import (
    Answer,
    Recorded,
    Reset,
    ScriptedEndpoint,
    answer_json,
    embeddings_answer,
    error,
)

TEXTS = [f"text {number}" for number in range(100)]


def vector_of(text: str) -> list[float]:
    return [float(len(text)), float(sum(map(ord, text))), 1.0]


def honest(request: Recorded) -> Answer:
    return embeddings_answer({index: vector_of(text) for index, text in enumerate(request.body["input"])})


def takes_at_most(limit: int, refusal: Answer) -> Callable[[Recorded], Answer]:
    return lambda request: refusal if len(request.body["input"]) > limit else honest(request)


async def checked(
    clients: Clients, endpoint: ScriptedEndpoint, store: MemoryCapabilityStore | None = None
) -> Embedder:
    endpoint.otherwise = endpoint.otherwise if callable(endpoint.otherwise) else honest
    embedder = clients.embedder(3, store)
    await embedder.check(RecordedAttempts())
    endpoint.requests.clear()
    return embedder


def sizes(endpoint: ScriptedEndpoint) -> list[int]:
    return [len(request.body["input"]) for request in endpoint.requests]


async def embed(
    embedder: Embedder, texts: list[str], attempts: RecordedAttempts | None = None
) -> list[object]:
    found = await embedder.embed(texts, attempts or RecordedAttempts())
    return [vector.reason if isinstance(vector, NoVector) else vector.tolist() for vector in found]


REFUSALS = {
    "OpenAI": error(400, "Invalid 'input': array too long."),
    "Gemini": error(400, "at most 100 requests can be in one batch"),
    "DashScope": error(400, "batch size is invalid, it should not be larger than 10"),
    "a page": Answer(b"<html>Request Entity Too Large</html>", 413),
    "pydantic": answer_json({"detail": [{"msg": "List should have at most 32 items"}]}, 422),
    "TEI": answer_json(
        {"error": "batch size 100 > maximum allowed batch size 32", "error_type": "Validation"}, 413
    ),
    "tokens": error(400, "too many tokens in one request"),
    "a 429 about the inputs": error(429, "Too many inputs in one request"),
    "a 429 about the batch": error(429, "The batch exceeds the maximum of 32"),
    "no words": Answer(b"", 400),
}
FAILURES = {
    "429": error(429, "too many tokens", {"retry-after-ms": "1"}),
    "500": error(500, "Internal Server Error"),
    "a gateway": Answer(b"<html>502</html>", 502),
}


@pytest.mark.parametrize(
    ("refusal", "limit"),
    [
        *((refusal, 32) for refusal in REFUSALS.values()),
        *((REFUSALS["no words"], limit) for limit in (1, 10, 64)),
    ],
    ids=[*REFUSALS, "1", "10", "64"],
)
async def test_a_limit_on_texts_is_learnt_once_whatever_the_endpoint_calls_it(
    endpoint: ScriptedEndpoint,
    clients: Clients,
    refusal: Answer,
    limit: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    store = MemoryCapabilityStore()
    endpoint.otherwise = takes_at_most(limit, refusal)
    embedder = await checked(clients, endpoint, store)
    attempts = RecordedAttempts()
    assert await embed(embedder, TEXTS, attempts) == [vector_of(text) for text in TEXTS]
    assert attempts.ends.count("refused") <= 7
    assert len(attempts.ends) == len(endpoint.requests)
    assert "fewer texts in one embedding request" in caplog.text
    endpoint.requests.clear()
    assert await embed(embedder, TEXTS) == [vector_of(text) for text in TEXTS]
    assert limit / 2 < max(sizes(endpoint)) <= limit
    # Another process, or the next run, knows it too.
    other = await checked(clients, endpoint, store)
    assert await embed(other, TEXTS) == [vector_of(text) for text in TEXTS]
    assert max(sizes(endpoint)) <= limit


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_a_limit_that_looks_like_an_outage_is_learnt_too(
    endpoint: ScriptedEndpoint, clients: Clients, failure: Answer
) -> None:
    endpoint.otherwise = takes_at_most(32, failure)
    embedder = await checked(clients, endpoint)
    attempts = RecordedAttempts()
    assert await embed(embedder, TEXTS, attempts) == [vector_of(text) for text in TEXTS]
    assert sum(end != "answered" for end in attempts.ends) <= FAILURES_BEFORE_HALVING + 4
    endpoint.requests.clear()
    assert await embed(embedder, TEXTS) == [vector_of(text) for text in TEXTS]
    assert max(sizes(endpoint)) == 25


@pytest.mark.parametrize("failure", [*FAILURES.values(), Reset()], ids=[*FAILURES, "reset"])
async def test_an_outage_that_ends_teaches_no_limit(
    endpoint: ScriptedEndpoint, clients: Clients, failure: Answer | Reset
) -> None:
    embedder = await checked(clients, endpoint)
    endpoint.script(*[failure] * (FAILURES_BEFORE_HALVING + 2))
    assert await embed(embedder, TEXTS) == [vector_of(text) for text in TEXTS]
    endpoint.requests.clear()
    await embed(embedder, TEXTS)
    assert sizes(endpoint) == [100]


async def test_an_outage_is_told_as_one(endpoint: ScriptedEndpoint, clients: Clients) -> None:
    embedder = await checked(clients, endpoint)
    endpoint.otherwise = FAILURES["500"]
    with pytest.raises(ProviderUnavailable, match="Internal Server Error"):
        await embedder.embed(TEXTS, clients.attempts)
    endpoint.otherwise = honest
    endpoint.requests.clear()
    await embed(embedder, TEXTS)
    assert sizes(endpoint) == [100]


async def test_texts_that_are_refused_teach_no_limit(endpoint: ScriptedEndpoint, clients: Clients) -> None:
    def refuses_poison(request: Recorded) -> Answer:
        return error(400, "unsafe") if "poison" in request.body["input"] else honest(request)

    endpoint.otherwise = refuses_poison
    embedder = await checked(clients, endpoint)
    found = await embed(embedder, [*TEXTS, "poison"])
    assert found[:-1] == [vector_of(text) for text in TEXTS]
    assert found[-1] == "The provider refuses this embedding request (HTTP 400: unsafe)"
    endpoint.requests.clear()
    await embed(embedder, TEXTS)
    assert sizes(endpoint) == [100]


async def test_a_limit_is_found_out_beside_a_refused_text(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    def answer(request: Recorded) -> Answer:
        texts = request.body["input"]
        return error(400, "no") if "poison" in texts or len(texts) > 10 else honest(request)

    endpoint.otherwise = answer
    embedder = await checked(clients, endpoint)
    found = await embed(embedder, ["poison", *TEXTS])
    assert found[1:] == [vector_of(text) for text in TEXTS]
    endpoint.requests.clear()
    await embed(embedder, TEXTS)
    assert 5 < max(sizes(endpoint)) <= 10


async def test_requests_under_way_together_find_a_limit_out_once(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = takes_at_most(10, REFUSALS["no words"])
    embedder = await checked(clients, endpoint)
    attempts = [RecordedAttempts() for _ in range(4)]
    await asyncio.gather(*(embedder.embed(TEXTS, each) for each in attempts))
    assert sum(each.ends.count("refused") for each in attempts) <= 4 + 4


async def test_vectors_whose_indexes_contradict_each_other_are_asked_for_singly(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    def contradictory(request: Recorded) -> Answer:
        items = [
            {"index": index // 2, "embedding": vector_of(text)}
            for index, text in enumerate(request.body["input"])
        ]
        return answer_json({"data": items})

    endpoint.otherwise = contradictory
    embedder = await checked(clients, endpoint)
    for asked in ([3, 1, 1, 1], [3, 1, 1, 1], [1, 1, 1]):
        endpoint.requests.clear()
        assert await embed(embedder, TEXTS[:3]) == [vector_of(text) for text in TEXTS[:3]]
        assert sizes(endpoint) == asked


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (None, "none came back for it"),
        ("%%%", "it is neither base64 of numbers nor a list of numbers"),
        ([], "it is empty"),
        ([1.0, 2.0], "it holds 2 numbers instead of 3"),
        ([float("nan"), 1.0, 1.0], "it holds a number that is not finite"),
        ([0.0, 0.0, 0.0], "it is all zeros"),
    ],
)
async def test_the_reason_says_what_was_wrong_with_a_vector(
    endpoint: ScriptedEndpoint, clients: Clients, vector: object, reason: str
) -> None:
    embedder = await checked(clients, endpoint)
    items = [] if vector is None else [{"index": 0, "embedding": vector}]
    bad = answer_json({"data": [*items, {"index": 1, "embedding": [1.0, 1.0, 1.0]}]})
    endpoint.script(bad, answer_json({"data": items}))
    assert await embed(embedder, ["a", "b"]) == [reason, [1.0, 1.0, 1.0]]


@pytest.mark.parametrize("is_limit", [True, False])
async def test_a_firewall_is_about_one_request_where_others_pass(
    endpoint: ScriptedEndpoint, is_limit: bool
) -> None:
    def answer(request: Recorded) -> Answer:
        texts = request.body["input"]
        is_blocked = len(texts) > 10 if is_limit else "poison" in texts
        return Answer(b"<html>403 Forbidden</html>", 403) if is_blocked else honest(request)

    endpoint.otherwise = answer
    async with open_clients(endpoint.base_url, harmless=True) as clients:
        embedder = await checked(clients, endpoint)
        found = await embed(embedder, [*TEXTS[:30], "poison"])
        assert found[:30] == [vector_of(text) for text in TEXTS[:30]]
        assert isinstance(found[30], list) == is_limit
        endpoint.requests.clear()
        await embed(embedder, TEXTS[:30])
        assert max(sizes(endpoint)) == (8 if is_limit else 30)

"""Texts become vectors, many per request, each checked before it is believed."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.errors import FatalError, ProviderUnavailable
from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.provider.embedder import (
    FAILURES_BEFORE_HALVING,
    MAX_TEXTS_PER_REQUEST,
    MAX_TOKENS_PER_REQUEST,
    Embedder,
    _requests,
)
from aboutness_assets.provider.wire import NoVector
from tests.support.provider_clients import QUICK_RETRIES, Answered, Clients, RecordedAttempts
from tests.support.scripted_endpoint import (
    Answer,
    Recorded,
    ScriptedEndpoint,
    base64_vector,
    embeddings_answer,
    error,
)

OWN_DIMENSION = 4


@pytest.fixture
def endpoint(endpoint: ScriptedEndpoint) -> ScriptedEndpoint:
    """An honest one unless it is scripted."""
    endpoint.otherwise = honest
    return endpoint


@pytest.fixture
async def embedder(clients: Clients, endpoint: ScriptedEndpoint) -> Embedder:
    """One that has checked its model."""
    embedder = clients.embedder(OWN_DIMENSION)
    await embedder.check(RecordedAttempts())
    endpoint.requests.clear()
    return embedder


def vector_of(text: str, dimension: int = OWN_DIMENSION) -> list[float]:
    """A vector that tells from which text it was made."""
    return [float(len(text)), float(sum(map(ord, text))), *[1.0] * (dimension - 2)]


def honest(request: Recorded) -> Answer:
    dimension = request.body.get("dimensions", OWN_DIMENSION)
    texts = request.body["input"]
    return embeddings_answer(
        {index: base64_vector(vector_of(text, dimension)) for index, text in enumerate(texts)}, len(texts)
    )


def honest_but_for(change: dict[int, object]) -> Callable[[Recorded], Answer]:
    """Answers with other embeddings at some positions; None leaves the position out."""

    def answer(request: Recorded) -> Answer:
        embeddings: dict[int, object] = {
            index: vector_of(text) for index, text in enumerate(request.body["input"])
        }
        embeddings |= change
        return embeddings_answer({index: value for index, value in embeddings.items() if value is not None})

    return answer


def billed_tokens(attempts: RecordedAttempts) -> list[int]:
    """Prompt tokens of each answer that was told."""
    return [
        outcome.usage.prompt_tokens
        for outcome in attempts.outcomes
        if isinstance(outcome, Answered) and outcome.usage is not None
    ]


def asked(endpoint: ScriptedEndpoint) -> list[list[str]]:
    return [request.body["input"] for request in endpoint.requests]


async def vectors(embedder: Embedder, texts: list[str]) -> list[list[float] | None]:
    found = await embedder.embed(texts, RecordedAttempts())
    return [None if isinstance(vector, NoVector) else vector.tolist() for vector in found]


async def test_where_the_models_own_dimension_is_the_columns_none_is_sent(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    embedder = clients.embedder(OWN_DIMENSION)
    assert await embedder.check(clients.attempts) == OWN_DIMENSION
    await embedder.embed(["a"], clients.attempts)
    assert [request.body.get("dimensions") for request in endpoint.requests] == [None, None]


async def test_where_it_differs_the_columns_is_sent_and_verified(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    embedder = clients.embedder(3)
    assert await embedder.check(clients.attempts) == 3
    [vector] = await embedder.embed(["a"], clients.attempts)
    assert not isinstance(vector, NoVector)
    assert vector.size == 3
    assert [request.body.get("dimensions") for request in endpoint.requests] == [None, 3, 3]


async def test_a_column_without_a_dimension_takes_the_models_own(clients: Clients) -> None:
    embedder = clients.embedder(None)
    assert await embedder.check(clients.attempts) == OWN_DIMENSION
    assert await vectors(embedder, ["a"]) == [vector_of("a")]


async def test_a_model_that_ignores_dimensions_is_fatal_that_names_both(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.otherwise = embeddings_answer({0: [1.0] * 5})
    with pytest.raises(FatalError, match=r"vectors of 1536 numbers.*'embed-test' makes 5.*_EMBEDDING_MODEL"):
        await clients.embedder(1536).check(clients.attempts)


async def test_a_model_that_refuses_dimensions_is_fatal_that_names_both(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    endpoint.script(embeddings_answer({0: [1.0] * 5}), error(400, "This model does not support dimensions"))
    with pytest.raises(FatalError, match=r"1536.*'embed-test' makes 5.*ABOUTNESS_EMBEDDING_MODEL"):
        await clients.embedder(1536).check(clients.attempts)


@pytest.mark.parametrize(
    "answer", [embeddings_answer({}), embeddings_answer({0: [0.0] * 4}), error(400, "unknown encoding")]
)
async def test_a_model_that_makes_no_vector_is_fatal_before_anything_is_written(
    endpoint: ScriptedEndpoint, clients: Clients, answer: Answer
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(FatalError, match=r"'embed-test'.*ABOUTNESS_EMBEDDING_MODEL"):
        await clients.embedder(OWN_DIMENSION).check(clients.attempts)


async def test_vectors_stand_where_their_texts_stood(endpoint: ScriptedEndpoint, embedder: Embedder) -> None:
    def shuffled(request: Recorded) -> Answer:
        texts = dict(enumerate(request.body["input"]))
        return embeddings_answer({index: vector_of(texts[index]) for index in sorted(texts, reverse=True)})

    endpoint.otherwise = shuffled
    texts = [f"text {number}" * number for number in range(1, 30)]
    assert await vectors(embedder, texts) == [vector_of(text) for text in texts]
    assert asked(endpoint) == [texts]


async def test_no_texts_make_no_request(endpoint: ScriptedEndpoint, embedder: Embedder) -> None:
    assert await embedder.embed([], RecordedAttempts()) == []
    assert endpoint.requests == []


async def test_texts_are_cut_into_requests_by_number(endpoint: ScriptedEndpoint, clients: Clients) -> None:
    embedder = clients.embedder(OWN_DIMENSION, max_texts_per_request=2)
    await embedder.check(clients.attempts)
    endpoint.requests.clear()
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    found = await embedder.embed(texts, clients.attempts)
    assert [None if isinstance(vector, NoVector) else vector.tolist() for vector in found] == [
        vector_of(text) for text in texts
    ]
    assert asked(endpoint) == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    # The check's own request comes first. honest() bills one token per text.
    assert billed_tokens(clients.attempts) == [1, 2, 2, 1]


async def test_no_text_and_no_token_is_beyond_what_openai_takes(
    endpoint: ScriptedEndpoint, embedder: Embedder
) -> None:
    await vectors(embedder, ["夜" * 200_000, "夜" * 100_000, "夜"])
    assert [len(texts) for texts in asked(endpoint)] == [2, 1]


@given(st.lists(st.integers(1, 200_000), max_size=40))
def test_no_request_holds_too_many_tokens_and_no_text_is_lost(sizes: list[int]) -> None:
    texts = ["夜" * size for size in sizes]
    requests = list(_requests(texts, MAX_TEXTS_PER_REQUEST))
    assert [text for request in requests for text in request] == texts
    assert all(sum(map(estimate_tokens, request)) <= MAX_TOKENS_PER_REQUEST for request in requests)


def test_a_request_holds_as_many_texts_as_it_may() -> None:
    assert [len(request) for request in _requests(["a"] * 5000, MAX_TEXTS_PER_REQUEST)] == [2048, 2048, 904]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [float("nan"), 1.0, 1.0, 1.0],
        base64_vector([float("inf"), 1, 1, 1]),
        [0.0] * 4,
        [1.0] * 3,
        base64_vector([1.0] * 5),
        [],
        "%%%",
    ],
    ids=repr,
)
async def test_an_unusable_vector_alone_is_asked_for_once_more(
    endpoint: ScriptedEndpoint, embedder: Embedder, bad: object
) -> None:
    endpoint.script(honest_but_for({1: bad}))
    assert await vectors(embedder, ["a", "bb", "ccc"]) == [vector_of("a"), vector_of("bb"), vector_of("ccc")]
    assert asked(endpoint) == [["a", "bb", "ccc"], ["bb"]]


@pytest.mark.parametrize("bad", [None, [0.0] * 4, [1.0] * 3])
async def test_a_vector_that_stays_unusable_leaves_its_text_without_one_and_the_others_with_theirs(
    endpoint: ScriptedEndpoint, embedder: Embedder, bad: object
) -> None:
    endpoint.script(honest_but_for({0: bad}), honest_but_for({0: bad}))
    assert await vectors(embedder, ["a", "bb"]) == [None, vector_of("bb")]
    assert asked(endpoint) == [["a", "bb"], ["a"]]


async def test_a_model_that_changes_its_dimension_in_mid_run_is_fatal(
    endpoint: ScriptedEndpoint, embedder: Embedder
) -> None:
    wrong = honest_but_for({0: [1.0] * 3, 1: [1.0] * 3})
    endpoint.script(wrong, wrong)
    with pytest.raises(FatalError, match=r"vectors of 4 numbers.*makes 3"):
        await embedder.embed(["a", "bb"], RecordedAttempts())


async def test_one_answer_of_a_wrong_dimension_is_asked_for_again(
    endpoint: ScriptedEndpoint, embedder: Embedder
) -> None:
    endpoint.script(honest_but_for({0: [1.0] * 3, 1: [1.0] * 3}))
    assert await vectors(embedder, ["a", "bb"]) == [vector_of("a"), vector_of("bb")]


async def test_of_a_refused_request_only_the_offending_text_is_left_without_a_vector(
    endpoint: ScriptedEndpoint, embedder: Embedder
) -> None:
    def refuses_poison(request: Recorded) -> Answer:
        return error(400, "no") if "poison" in request.body["input"] else honest(request)

    endpoint.otherwise = refuses_poison
    texts = [*"abcdefgh", "poison", *"ijklmno"]
    assert await vectors(embedder, texts) == [None if text == "poison" else vector_of(text) for text in texts]
    assert len(endpoint.requests) == 9  # 16 texts are halved four times


async def test_an_outage_is_no_texts_failure(
    endpoint: ScriptedEndpoint, embedder: Embedder, clients: Clients
) -> None:
    endpoint.otherwise = error(500, "oops")
    with pytest.raises(ProviderUnavailable):
        await embedder.embed(["a", "bb"], clients.attempts)
    # Two texts may be too many; one is what every endpoint takes.
    assert clients.attempts.ends == ["refused"] * (FAILURES_BEFORE_HALVING + QUICK_RETRIES.attempts)


async def test_vectors_are_float32_as_they_came(embedder: Embedder, clients: Clients) -> None:
    [vector] = await embedder.embed(["a"], clients.attempts)
    assert not isinstance(vector, NoVector)
    assert vector.dtype == np.float32


# --- What whoever pays hears ------------------------------------------------------------------------


async def test_a_model_is_checked_once_and_by_one_of_those_who_need_it(
    endpoint: ScriptedEndpoint, clients: Clients
) -> None:
    embedder = clients.embedder(OWN_DIMENSION)
    told = [RecordedAttempts() for _ in range(3)]
    assert await asyncio.gather(*map(embedder.check, told)) == [OWN_DIMENSION] * 3
    assert sorted(each.ends for each in told) == [[], [], ["answered"]]
    assert len(endpoint.requests) == 1


async def test_a_check_that_met_an_outage_is_made_again(endpoint: ScriptedEndpoint, clients: Clients) -> None:
    embedder = clients.embedder(OWN_DIMENSION)
    endpoint.script(*[error(500, "oops")] * QUICK_RETRIES.attempts)
    with pytest.raises(ProviderUnavailable):
        await embedder.check(clients.attempts)
    assert await embedder.check(clients.attempts) == OWN_DIMENSION


async def test_every_request_of_a_check_is_told(endpoint: ScriptedEndpoint, clients: Clients) -> None:
    endpoint.script(embeddings_answer({0: [1.0] * 5}), error(400, "This model does not support dimensions"))
    with pytest.raises(FatalError):
        await clients.embedder(1536).check(clients.attempts)
    assert clients.attempts.ends == ["answered", "refused"]


async def test_every_request_is_told_those_for_unusable_vectors_and_halves_too(
    endpoint: ScriptedEndpoint, embedder: Embedder, clients: Clients
) -> None:
    endpoint.script(error(400, "no"), honest_but_for({0: None}))
    found = await embedder.embed(["a", "bb"], clients.attempts)
    assert [isinstance(vector, NoVector) for vector in found] == [False, False]
    assert asked(endpoint) == [["a", "bb"], ["a"], ["a"], ["bb"]]
    assert clients.attempts.ends == ["refused", "answered", "answered", "answered"]
    assert [sending.body_bytes for sending in clients.attempts.sent] == [
        int(request.headers["Content-Length"]) for request in endpoint.requests
    ]
    assert [sending.max_completion_tokens for sending in clients.attempts.sent] == [None] * 4

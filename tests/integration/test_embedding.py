import logging
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.errors import FatalError, ProviderUnavailable
from aboutness_assets.domain.tokens import estimate_tokens
from aboutness_assets.limits.throttle import Throttle
from aboutness_assets.provider import embedder as embedding
from aboutness_assets.provider.client import OpenAIClient
from aboutness_assets.provider.embedder import Embedder, VectorForm, _batches
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
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as endpoint:
        endpoint.otherwise = honest
        yield endpoint


@pytest.fixture
async def client(
    endpoint: ScriptedEndpoint, make_throttle: Callable[..., Throttle]
) -> AsyncIterator[OpenAIClient]:
    async with OpenAIClient(
        api_key="test-key",
        base_url=endpoint.base_url,
        chat_model="gpt-test",
        reasoning_effort="",
        embedding_model="embed-test",
        request_timeout_seconds=5,
        chat_throttle=make_throttle(),
        embedding_throttle=make_throttle(),
        log=logging.getLogger("test"),
        retry_backoff_seconds=0.001,
    ) as client:
        yield client


@pytest.fixture
async def embedder(client: OpenAIClient, endpoint: ScriptedEndpoint) -> Embedder:
    embedder = Embedder(client, VectorForm(OWN_DIMENSION))
    await embedder.check()
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


def asked(endpoint: ScriptedEndpoint) -> list[list[str]]:
    return [request.body["input"] for request in endpoint.requests]


async def vectors(embedder: Embedder, texts: list[str]) -> list[list[float] | None]:
    return [None if vector is None else vector.tolist() for vector in await embedder.embed(texts)]


async def test_where_the_models_own_dimension_is_the_columns_none_is_sent(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    embedder = Embedder(client, VectorForm(OWN_DIMENSION))
    assert await embedder.check() == OWN_DIMENSION
    await embedder.embed(["a"])
    assert [request.body.get("dimensions") for request in endpoint.requests] == [None, None]


async def test_where_it_differs_the_columns_is_sent_and_verified(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    embedder = Embedder(client, VectorForm(3))
    assert await embedder.check() == 3
    [vector] = await embedder.embed(["a"])
    assert vector is not None
    assert vector.size == 3
    assert [request.body.get("dimensions") for request in endpoint.requests] == [None, 3, 3]


async def test_a_column_without_a_dimension_takes_the_models_own(client: OpenAIClient) -> None:
    embedder = Embedder(client, VectorForm(None))
    assert await embedder.check() == OWN_DIMENSION
    assert await vectors(embedder, ["a"]) == [vector_of("a")]


async def test_a_model_that_ignores_dimensions_is_a_global_fault_that_names_both(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    endpoint.otherwise = embeddings_answer({0: [1.0] * 5})
    with pytest.raises(FatalError, match=r"vectors of 1536 numbers.*'embed-test' makes 5.*_EMBEDDING_MODEL"):
        await Embedder(client, VectorForm(1536)).check()


async def test_a_model_that_refuses_dimensions_is_a_global_fault_that_names_both(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    endpoint.script(embeddings_answer({0: [1.0] * 5}), error(400, "This model does not support dimensions"))
    with pytest.raises(FatalError, match=r"1536.*'embed-test' makes 5.*ABOUTNESS_EMBEDDING_MODEL"):
        await Embedder(client, VectorForm(1536)).check()


@pytest.mark.parametrize(
    "answer", [embeddings_answer({}), embeddings_answer({0: [0.0] * 4}), error(400, "unknown encoding")]
)
async def test_a_model_that_makes_no_vector_is_a_global_fault_before_anything_is_written(
    endpoint: ScriptedEndpoint, client: OpenAIClient, answer: Answer
) -> None:
    endpoint.otherwise = answer
    with pytest.raises(FatalError, match=r"'embed-test'.*ABOUTNESS_EMBEDDING_MODEL"):
        await Embedder(client, VectorForm(OWN_DIMENSION)).check()


async def test_vectors_stand_where_their_texts_stood(endpoint: ScriptedEndpoint, embedder: Embedder) -> None:
    def shuffled(request: Recorded) -> Answer:
        texts = dict(enumerate(request.body["input"]))
        return embeddings_answer({index: vector_of(texts[index]) for index in sorted(texts, reverse=True)})

    endpoint.otherwise = shuffled
    texts = [f"text {number}" * number for number in range(1, 30)]
    assert await vectors(embedder, texts) == [vector_of(text) for text in texts]
    assert asked(endpoint) == [texts]


async def test_no_texts_make_no_request(endpoint: ScriptedEndpoint, embedder: Embedder) -> None:
    assert await embedder.embed([]) == []
    assert endpoint.requests == []


async def test_texts_are_cut_into_requests_by_number(
    endpoint: ScriptedEndpoint, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "MAX_TEXTS_PER_REQUEST", 2)
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    assert await vectors(embedder, texts) == [vector_of(text) for text in texts]
    assert asked(endpoint) == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert (embedder.embedding_requests, embedder.embedding_tokens) == (4, 6)  # the check's one among them


@given(st.lists(st.integers(1, 200_000), max_size=40))
def test_no_request_holds_too_many_tokens_and_no_text_is_lost(sizes: list[int]) -> None:
    texts = ["夜" * size for size in sizes]
    batches = list(_batches(texts))
    assert [text for batch in batches for text in batch] == texts
    assert all(sum(map(estimate_tokens, batch)) <= embedding.MAX_TOKENS_PER_REQUEST for batch in batches)


def test_a_request_holds_as_many_texts_as_it_may() -> None:
    assert [len(batch) for batch in _batches(["a"] * 5000)] == [2048, 2048, 904]


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


async def test_a_model_that_changes_its_dimension_in_mid_run_is_a_global_fault(
    endpoint: ScriptedEndpoint, embedder: Embedder
) -> None:
    wrong = honest_but_for({0: [1.0] * 3, 1: [1.0] * 3})
    endpoint.script(wrong, wrong)
    with pytest.raises(FatalError, match=r"vectors of 4 numbers.*makes 3"):
        await embedder.embed(["a", "bb"])


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


async def test_an_outage_is_no_texts_failure(endpoint: ScriptedEndpoint, embedder: Embedder) -> None:
    endpoint.otherwise = error(500, "oops")
    with pytest.raises(ProviderUnavailable):
        await embedder.embed(["a", "bb"])


async def test_vectors_are_float32_as_they_came(embedder: Embedder) -> None:
    [vector] = await embedder.embed(["a"])
    assert vector is not None
    assert vector.dtype == np.float32

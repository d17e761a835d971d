"""Bodies of answers, whatever parts of them are missing or of another type."""

import json
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.chat import Usage
from aboutness_assets.domain.errors import UnparsableAnswer
from aboutness_assets.provider.wire import EmbeddingsAnswer, NoVector, read_chat_body, read_embeddings_body
from tests.support.scripted_endpoint import base64_vector, chat_answer, embeddings_answer

MISSING = object()


def chat_usage(usage: object, content: str | None = "hello") -> Usage | None:
    """The usage that is read of a chat answer; MISSING leaves it out."""
    body: dict[str, Any] = {"choices": [{"message": {"content": content}}]}
    if usage is not MISSING:
        body["usage"] = usage
    return read_chat_body(json.dumps(body).encode()).usage


def embeddings_body(**parts: object) -> EmbeddingsAnswer:
    return read_embeddings_body(json.dumps({"data": [], **parts}).encode(), 1)


def test_a_chat_body_is_read_in_full() -> None:
    answer = read_chat_body(chat_answer("hello").body)
    assert (answer.content, answer.finish_reason, answer.refusal) == ("hello", "stop", None)
    assert answer.usage == Usage(prompt_tokens=12, cached_tokens=8, completion_tokens=5)
    assert answer.model == "gpt-test-2026-01-01"
    assert answer.service_tier is None


def test_a_refusal_by_the_model_is_read() -> None:
    raw = b'{"choices":[{"finish_reason":"stop","message":{"content":null,"refusal":"I cannot."}}]}'
    answer = read_chat_body(raw)
    assert (answer.content, answer.refusal) == (None, "I cannot.")


@pytest.mark.parametrize(
    ("stated", "read"), [("flex", "flex"), ("default", "default"), (None, None), (7, None)]
)
def test_the_tier_that_served_is_read_of_both_kinds_of_answer(stated: object, read: str | None) -> None:
    raw = json.dumps({"choices": [{}], "service_tier": stated}).encode()
    assert read_chat_body(raw).service_tier == read
    assert embeddings_body(service_tier=stated).service_tier == read


@pytest.mark.parametrize("raw", [b"", b"[1]", b"7", b"null", b"<html>", b'{"choices": [', b'{"error": "x"}'])
def test_what_is_no_answer_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(UnparsableAnswer):
        read_chat_body(raw)
    with pytest.raises(UnparsableAnswer):
        read_embeddings_body(raw, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": None},
        {"choices": {}},
        {"choices": [{"message": {"content": "x"}}], "error": {"message": "halfway"}},
        {"choices": [{"message": {"content": "x"}, "error": {"message": "halfway"}}]},
        {"choices": [{"message": {"content": "x"}, "finish_reason": "error"}]},
    ],
    ids=repr,
)
def test_no_choices_and_a_stated_error_are_no_answer(body: object) -> None:
    with pytest.raises(UnparsableAnswer):
        read_chat_body(json.dumps(body).encode())


def test_an_error_that_is_null_is_none() -> None:
    body = {"error": None, "choices": [{"message": {"content": "x"}, "error": None}]}
    assert read_chat_body(json.dumps(body).encode()).content == "x"


def test_a_lone_surrogate_in_an_answer_does_not_cost_the_whole_answer() -> None:
    answer = read_chat_body(b'{"choices":[{"message":{"content":"a\\ud800b"}}]}')
    assert answer.content == "a\ud800b"


# --- Usage ------------------------------------------------------------------------------------------


NOT_STATED = {"missing": MISSING, "null": None, "empty": {}, "list": [], "text": "12", "number": 12}


@pytest.mark.parametrize("usage", [*NOT_STATED.values(), {"total_tokens": 12}], ids=[*NOT_STATED, "total"])
def test_an_answer_that_states_no_count_has_no_usage(usage: object) -> None:
    assert chat_usage(usage) is None


def test_tokens_read_from_and_written_to_the_cache_are_read() -> None:
    details = {"cached_tokens": 1000, "cache_write_tokens": 200}
    usage = chat_usage({"prompt_tokens": 1300, "completion_tokens": 5, "prompt_tokens_details": details})
    assert usage == Usage(1300, 5, cached_tokens=1000, cache_write_tokens=200, is_credible=True)


@pytest.mark.parametrize(
    "details", [MISSING, None, {}, [], {"cached_tokens": None, "cache_write_tokens": None}]
)
def test_without_details_nothing_came_from_the_cache(details: object) -> None:
    stated: dict[str, object] = {"prompt_tokens": 12, "completion_tokens": 5}
    if details is not MISSING:
        stated["prompt_tokens_details"] = details
    assert chat_usage(stated) == Usage(12, 5)


@pytest.mark.parametrize("count", [-1, 2**31, 10**30, 1.5, 12.0, "12", True, None, [12]], ids=repr)
@pytest.mark.parametrize("of", ["prompt_tokens", "completion_tokens"])
def test_a_count_that_is_no_plausible_number_is_not_believed(of: str, count: object) -> None:
    """The ledger holds counts in columns of type integer: a larger one would end the run."""
    usage = chat_usage({"prompt_tokens": 12, "completion_tokens": 5, of: count})
    believed = {"prompt_tokens": 12, "completion_tokens": 5, of: 0}
    assert usage == Usage(**believed, is_credible=False)


@pytest.mark.parametrize("count", [-1, 2**31, 1.5, "8", True], ids=repr)
@pytest.mark.parametrize("of", ["cached_tokens", "cache_write_tokens"])
def test_a_count_of_cached_tokens_that_is_no_plausible_number_is_not_believed(of: str, count: object) -> None:
    usage = chat_usage({"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {of: count}})
    assert usage == Usage(12, 5, is_credible=False)


def test_the_largest_count_that_a_ledger_takes_is_believed() -> None:
    assert chat_usage({"prompt_tokens": 2**31 - 1, "completion_tokens": 1}) == Usage(2**31 - 1, 1)


@pytest.mark.parametrize("missing", ["prompt_tokens", "completion_tokens"])
def test_one_count_without_the_other_is_not_believed_to_be_all(missing: str) -> None:
    stated = {"prompt_tokens": 12, "completion_tokens": 5}
    del stated[missing]
    assert chat_usage(stated) == Usage(
        stated.get("prompt_tokens", 0), stated.get("completion_tokens", 0), is_credible=False
    )


@pytest.mark.parametrize(
    ("details", "cached", "written"),
    [
        ({"cached_tokens": 13}, 12, 0),
        ({"cache_write_tokens": 13}, 0, 12),
        ({"cached_tokens": 8, "cache_write_tokens": 5}, 8, 4),
        ({"cached_tokens": 50, "cache_write_tokens": 50}, 12, 0),
    ],
    ids=repr,
)
def test_more_tokens_in_the_cache_than_in_the_prompt_are_not_believed_and_cut(
    details: dict[str, int], cached: int, written: int
) -> None:
    usage = chat_usage({"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": details})
    assert usage == Usage(12, 5, cached_tokens=cached, cache_write_tokens=written, is_credible=False)


def test_as_many_tokens_in_the_cache_as_in_the_prompt_are_believed() -> None:
    details = {"cached_tokens": 8, "cache_write_tokens": 4}
    usage = chat_usage({"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": details})
    assert usage == Usage(12, 5, cached_tokens=8, cache_write_tokens=4, is_credible=True)


@pytest.mark.parametrize(
    ("prompt", "completion", "content", "is_credible"),
    [
        (12, 0, "hello", False),
        (0, 5, "hello", False),
        (0, 0, "hello", False),
        (0, 0, None, False),
        (12, 0, None, True),
        (12, 0, "", True),
        (12, 5, None, True),
    ],
)
def test_a_text_costs_tokens_and_so_does_every_prompt(
    prompt: int, completion: int, content: str | None, is_credible: bool
) -> None:
    usage = chat_usage({"prompt_tokens": prompt, "completion_tokens": completion}, content)
    assert usage == Usage(prompt, completion, is_credible=is_credible)


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(7)),
        ({"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}, Usage(7)),
        ({"prompt_tokens": 0, "total_tokens": 0}, Usage(0, is_credible=False)),
        ({"prompt_tokens": -7}, Usage(0, is_credible=False)),
        ({"prompt_tokens": True}, Usage(0, is_credible=False)),
        ({"prompt_tokens": 2**31}, Usage(0, is_credible=False)),
        ({"total_tokens": 7}, None),
        ({}, None),
        (None, None),
    ],
    ids=repr,
)
def test_the_usage_of_embeddings_is_read_alike(stated: object, read: Usage | None) -> None:
    assert embeddings_body(usage=stated).usage == read


any_count = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)


@given(any_count, any_count, any_count, any_count, st.sampled_from(["hello", "", None]))
def test_what_is_read_can_be_true_and_what_is_credible_is_as_stated(
    prompt: object, completion: object, cached: object, written: object, content: str | None
) -> None:
    usage = chat_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        },
        content,
    )
    assert usage is not None
    assert 0 <= usage.prompt_tokens < 2**31
    assert 0 <= usage.completion_tokens < 2**31
    assert min(usage.cached_tokens, usage.cache_write_tokens) >= 0
    assert usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
    if usage.is_credible:
        assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, completion)
        assert (usage.cached_tokens, usage.cache_write_tokens) == (cached or 0, written or 0)


# --- Vectors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", [[0.25, -1.0], base64_vector([0.25, -1])], ids=["floats", "base64"])
def test_vectors_are_float32_in_either_form_and_cannot_be_changed(vector: object) -> None:
    [read] = read_embeddings_body(embeddings_answer({0: vector}).body, 1).vectors
    assert not isinstance(read, NoVector)
    assert read.tolist() == [0.25, -1]
    assert read.dtype == np.float32
    assert not read.flags.writeable


def read_items(items: object, texts: int) -> list[object]:
    """First numbers of the vectors that are read, reasons in place of the others."""
    vectors = read_embeddings_body(json.dumps({"data": items}).encode(), texts).vectors
    return [v.reason if isinstance(v, NoVector) else v.tolist()[0] for v in vectors]


def test_vectors_come_by_index() -> None:
    raw = embeddings_answer({2: base64_vector([3, 4]), 0: base64_vector([1, 2])}).body
    first, second, third = read_embeddings_body(raw, 3).vectors
    assert not isinstance(first, NoVector)
    assert first.tolist() == [1, 2]
    assert second == NoVector("none came back for it")
    assert not isinstance(third, NoVector)
    assert third.tolist() == [3, 4]


class Missing(Enum):
    """In place of what an item lacks; its name is the same in every process."""

    INDEX = auto()


MISSING_INDEX = Missing.INDEX


def items_of(indexes: list[object]) -> list[dict[str, object]]:
    """Items with these indexes, whose vectors tell their positions."""
    return [
        {"embedding": [float(position)]} | ({} if index is MISSING_INDEX else {"index": index})
        for position, index in enumerate(indexes)
    ]


@pytest.mark.parametrize(
    ("indexes", "order"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([2, 0, 1], [1, 2, 0]),
        (["2", "0", "1"], [1, 2, 0]),
        ([2.0, 0.0, 1.0], [1, 2, 0]),
        ([MISSING_INDEX] * 3, [0, 1, 2]),
        ([None] * 3, [0, 1, 2]),
        ([0, 0, 0], [0, 1, 2]),
        ([7, 7, 7], [0, 1, 2]),
        (["", "x", "emb-3"], [0, 1, 2]),
        ([True, False, [1]], [0, 1, 2]),
        ([0.5, 0.5, 1.5], [0, 1, 2]),
        ([MISSING_INDEX, 1, 2], [0, 1, 2]),
        ([1, MISSING_INDEX, 2], [1, 0, 2]),
        ([-1], [0]),
    ],
    ids=repr,
)
def test_where_no_index_tells_vectors_apart_their_position_does(
    indexes: list[object], order: list[int]
) -> None:
    assert read_items(items_of(indexes), len(indexes)) == order


@pytest.mark.parametrize(
    ("indexes", "texts"),
    [
        ([0, 0, 2], 3),
        ([0, 1, 3], 3),
        ([1, 2, 3], 3),
        ([-1, 0, 1], 3),
        ([0, None, None], 3),
        ([None, None], 3),
        ([0, 0], 3),
        ([None] * 4, 3),
        ([0, 1, 2, 3], 3),
        ([0, 0, 0], 1),
    ],
    ids=repr,
)
def test_indexes_that_contradict_each_other_give_no_vector(indexes: list[object], texts: int) -> None:
    items = items_of(indexes)
    assert read_items(items, texts) == ["the indexes of the answer contradict each other"] * texts
    assert read_embeddings_body(json.dumps({"data": items}).encode(), texts).is_contradictory


@pytest.mark.parametrize(
    "embedding", ["%%%", "QUJD", None, 7, {"a": 1}, [[1.0]], ["x"], [1, [2]], [10**400]], ids=repr
)
def test_a_vector_that_cannot_be_read_is_told(embedding: object) -> None:
    raw = embeddings_answer({0: embedding, 1: [1.0]}).body
    unread, read = read_embeddings_body(raw, 2).vectors
    assert unread == NoVector("it is neither base64 of numbers nor a list of numbers")
    assert not isinstance(read, NoVector)


# --- Whatever comes ---------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "message", "content", "usage", "prompt_tokens", "completion_tokens"),
                    *("prompt_tokens_details", "cached_tokens", "data", "index", "embedding", "model"),
                ]
            ),
            inner,
        )
    ),
)


@given(json_values)
def test_whatever_json_comes_the_readers_raise_nothing_but_their_own_error(value: object) -> None:
    raw = json.dumps(value).encode()
    with suppress(UnparsableAnswer):
        read_chat_body(raw)
    with suppress(UnparsableAnswer):
        read_embeddings_body(raw, 3)


@given(st.binary())
def test_whatever_bytes_come_the_readers_raise_nothing_but_their_own_error(raw: bytes) -> None:
    with suppress(UnparsableAnswer):
        read_chat_body(raw)
    with suppress(UnparsableAnswer):
        read_embeddings_body(raw, 3)


def test_endless_nesting_is_no_answer() -> None:
    with pytest.raises(UnparsableAnswer):
        read_chat_body(b"[" * 200_000)

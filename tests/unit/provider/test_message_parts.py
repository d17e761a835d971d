"""What a chat message holds, in the shapes of several providers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.provider.wire import read_chat_body

THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "a draft"}]}


def read(message: Any, finish_reason: object = "stop") -> ChatAnswer:
    return read_chat_body(
        json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}]}).encode()
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("as it is", "as it is"),
        ([{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}], "in parts"),
        (["in ", "strings"], "in strings"),
        ([{"type": "output_text", "text": "out", "annotations": []}], "out"),
        ([{"type": "text", "text": {"value": "deep", "annotations": []}}], "deep"),
        ([{"type": "output_text", "content": "content"}], "content"),
        ([{"text": "untyped"}], "untyped"),
        ({"type": "text", "text": "alone"}, "alone"),
        ([THINKING, {"type": "text", "text": "answer"}], "answer"),
        ([{"type": "reasoning", "text": "hm"}, "answer"], "answer"),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "Thinking", "text": "x"}, "answer"], "answer"),
        ([{"text": "hm", "thought": True}, {"text": "answer", "thought": False}], "answer"),
        ([{"type": "image_url", "image_url": {"url": "x"}}, "answer", None, 7, []], "answer"),
        ([THINKING], None),
        ([], None),
        ({}, None),
        (None, None),
        (7, None),
        ([{"type": "text", "text": None}, {"type": 7, "text": ["x"]}], None),
    ],
    ids=repr,
)
def test_text_parts_are_joined_and_thoughts_are_left_out(content: object, text: str | None) -> None:
    assert read({"content": content}).content == text


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"reasoning_content": "hm"}, "hm"),
        ({"reasoning": "hm"}, "hm"),
        ({"thinking": "hm"}, "hm"),
        ({"reasoning_content": " ", "reasoning": "hm"}, "hm"),
        ({"reasoning": [{"type": "reasoning.text", "text": "h"}, "m"]}, "hm"),
        ({"reasoning": {"content": "hm"}}, "hm"),
        ({"reasoning": "\n"}, None),
        ({"reasoning": {"effort": "low"}}, None),
        ({"content": [THINKING]}, None),
        ({}, None),
    ],
    ids=repr,
)
def test_what_an_endpoint_takes_for_thoughts_is_read_under_every_name(
    message: dict[str, object], reasoning: str | None
) -> None:
    assert read({"content": None, **message}).reasoning == reasoning


def test_a_refusal_may_be_a_part_of_the_content() -> None:
    answer = read({"content": [{"type": "refusal", "refusal": "I cannot."}]})
    assert (answer.content, answer.refusal) == (None, "I cannot.")


@pytest.mark.parametrize("stated", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_an_answer_that_its_limit_ended_is_recognized_in_every_providers_words(stated: str) -> None:
    assert read({"content": "x"}, stated).finish_reason == "length"


@pytest.mark.parametrize("stated", ["stop", "content_filter", "STOP", None])
def test_any_other_reason_is_read_as_it_is(stated: str | None) -> None:
    assert read({"content": "x"}, stated).finish_reason == stated


parts = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "value", "content", "thought", "refusal", "reasoning", "thinking"]
            ),
            inner,
        )
    ),
)


@given(parts)
def test_whatever_a_message_holds_is_text_or_none(message: object) -> None:
    answer = read(message)
    for said in (answer.content, answer.reasoning, answer.refusal):
        assert said is None or isinstance(said, str)

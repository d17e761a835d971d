"""Reading an answer: every song gets its own texts or a reason, whatever the model wrote."""

import json
from typing import Any

import pytest

from aboutness_assets.domain.chat import ChatAnswer
from aboutness_assets.generation.answer import read_texts
from aboutness_assets.generation.prompt import EXAMPLE_EMOTIONS
from tests.support.model_answers import (
    DOCUMENT,
    ENTRIES,
    LIST,
    MOMENTS,
    PACK,
    WRITTEN,
    causes,
    chat_of,
    entry,
    read,
    read_content,
)


@pytest.mark.parametrize(
    ("chat", "cause", "reason"),
    [
        (chat_of(DOCUMENT, refusal="I can't help with that"), "refused", "I can't help with that"),
        (chat_of(None, refusal="No."), "refused", "No."),
        (chat_of(DOCUMENT, "content_filter"), "content_filter", "content filter"),
        (chat_of(None), "unparsable", "holds no text"),
        (chat_of(""), "unparsable", "holds no text"),
        (chat_of("nonsense"), "unparsable", "8 characters for 3 songs"),
    ],
)
def test_an_answer_that_cannot_be_used_rejects_every_song_with_the_reason(
    chat: ChatAnswer, cause: str, reason: str
) -> None:
    answer = read_texts(chat, PACK)
    assert answer.written == {}
    assert [(failed.song_id, failed.cause) for failed in answer.rejected] == [
        (11, cause),
        (12, cause),
        (13, cause),
    ]
    assert all(reason in failed.reason for failed in answer.rejected)


def test_an_answer_that_its_length_ended_gives_the_songs_before_the_cut() -> None:
    answer = read_texts(chat_of(DOCUMENT[: DOCUMENT.index('"3"') + 20], "length"), PACK)
    assert answer.written == {11: WRITTEN[11], 12: WRITTEN[12]}
    assert causes(answer) == {13: "missing"}


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        (None, "missing"),
        ("joy", "unparsable"),
        ([], "unparsable"),
        ({}, "unusable_text"),
        (entry(1, emotions_text=...), "unusable_text"),
        (entry(1, emotions_text=""), "unusable_text"),
        (entry(1, moments_text="N/A"), "unusable_text"),
        (entry(1, moments_text="\ud800\0"), "unusable_text"),
        (entry(1, moments_text=None), "unusable_text"),
        (entry(1, moments_text=["dawn"]), "unusable_text"),
        (entry(1, emotions_text=5), "unusable_text"),
        (entry(1, emotions_text=f" {EXAMPLE_EMOTIONS}."), "unusable_text"),
        (entry(1, emotions_confidence="very high"), "bad_confidence"),
        (entry(1, emotions_confidence=...), "bad_confidence"),
        (entry(1, moments_confidence=0.9), "bad_confidence"),
        (entry(1, moments_confidence=None), "bad_confidence"),
        (entry(1, title="Imagine"), "another_song"),
    ],
)
def test_a_bad_entry_costs_its_own_song_alone(second: Any, cause: str) -> None:
    answer = read(ENTRIES | {"2": second})
    assert answer.written == {11: WRITTEN[11], 13: WRITTEN[13]}
    assert causes(answer) == {12: cause}


def test_songs_without_an_entry_are_missing() -> None:
    assert causes(read({"2": entry(1)})) == {11: "missing", 13: "missing"}
    assert causes(read({})) == {11: "missing", 12: "missing", 13: "missing"}
    assert causes(read([])) == {11: "missing", 12: "missing", 13: "missing"}


def test_an_entry_counts_by_its_key_and_never_by_its_place() -> None:
    assert read(list(reversed(LIST))).written == WRITTEN
    assert causes(read([{**texts, "key": "x"} for texts in LIST])) == {
        11: "missing",
        12: "missing",
        13: "missing",
    }


@pytest.mark.parametrize(("spelt", "read_as"), [(" High ", "high"), ("LOW", "low"), ("Medium\n", "medium")])
def test_a_confidence_is_understood_in_any_case(spelt: str, read_as: str) -> None:
    assert (
        read(ENTRIES | {"1": entry(0, emotions_confidence=spelt)}).written[11].emotions_confidence == read_as
    )


def test_texts_are_cleaned() -> None:
    answer = read(
        ENTRIES | {"1": entry(0, emotions_text='**Emotions:** "gentle longing"\n[Confidence: high]')}
    )
    assert answer.written[11].emotions_text == "gentle longing"


def test_a_key_that_is_given_twice_with_the_same_entry_is_fine() -> None:
    twice = DOCUMENT.replace('"songs": {', '"songs": {"2": ' + json.dumps(entry(1)) + ",")
    assert read_content(twice).written == WRITTEN
    assert read([*LIST, LIST[1]]).written == WRITTEN


def test_a_key_that_is_given_twice_with_different_entries_tells_nothing() -> None:
    twice = DOCUMENT.replace('"songs": {', '"songs": {"2": ' + json.dumps(entry(3)) + ",")
    assert causes(read_content(twice)) == {12: "unparsable"}
    assert causes(read([*LIST, {**LIST[1], "moments_text": "elsewhere"}])) == {12: "unparsable"}
    both = DOCUMENT[:-1] + ', "songs": {"1": ' + json.dumps(entry(3)) + "}}"
    assert causes(read_content(both)) == dict.fromkeys((11, 12, 13), "unparsable")


def test_a_text_that_is_given_twice_differently_is_not_chosen_from() -> None:
    twice = DOCUMENT.replace(f'"moments_text": "{MOMENTS[1]}"', '"moments_text": "x", "moments_text": "y"')
    assert causes(read_content(twice)) == {12: "unusable_text"}

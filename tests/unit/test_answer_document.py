"""From characters to entries: which forms of an answer are understood."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.generation.answer import ReadAnswer
from aboutness_assets.generation.cleaning import is_valid_text
from tests.support.model_answers import (
    DOCUMENT,
    EMOTIONS,
    ENTRIES,
    LIST,
    MOMENTS,
    PACK,
    WRITTEN,
    causes,
    entry,
    read_content,
)


@pytest.mark.parametrize(
    "content",
    [
        DOCUMENT,
        json.dumps({"songs": ENTRIES}, indent=2),
        f"```json\n{DOCUMENT}\n```",
        f"Here [as asked, {{key by key}}] it is:\n{DOCUMENT}\nHope that helps :-}}",
        "\ufeff" + DOCUMENT,
        json.dumps(ENTRIES),
        json.dumps({"songs": LIST}),
        json.dumps(LIST),
        json.dumps([{"songs": ENTRIES}]),
        json.dumps({"result": {"songs": ENTRIES}}),
        json.dumps({"songs": [{**texts, "key": int(texts["key"])} for texts in LIST]}),
        json.dumps({"songs": {f" {key} ": texts for key, texts in ENTRIES.items()}}),
        json.dumps({"songs": ENTRIES, "count": 3, "huge": 10**400}).replace('"count": 3', '"count": NaN'),
        json.dumps({"songs": {**ENTRIES, "4": entry(3), "note": "done"}}),
        json.dumps({"songs": [{"key": "1", "title": "Imagine"}]}) + DOCUMENT,
        DOCUMENT.replace("gentle longing", "gentle\nlonging"),
    ],
)
def test_an_answer_is_understood_in_every_form_that_models_give_it(content: str) -> None:
    assert read_content(content) == ReadAnswer(WRITTEN, [])


@pytest.mark.parametrize(
    "content",
    [
        *(
            "",
            " ",
            "null",
            "3",
            '"songs"',
            "[]",
            "{}",
            "[1]",
            '{"songs": null}',
            '{"songs": 3}',
            '{"answer": {}}',
        ),
        *(
            "I'm sorry, I can't help with that.",
            "<html><body>502</body></html>",
            '{"songs":{"1":{"emotions_te',
        ),
        *(
            "[" * 100_000,
            '{"songs":' * 100_000,
            '{"songs":{"1":' + "[" * 5_000 + "]" * 5_000 + "}}",
            "{" * 100_000,
        ),
        *("1" * 10_000, '{"a":' * 900, "\ud800", '{"songs"'),
    ],
)
def test_content_that_is_no_answer_is_unparsable(content: str) -> None:
    answer = read_content(content)
    assert answer.written == {}
    assert causes(answer) == dict.fromkeys((11, 12, 13), "unparsable")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["songs", "1", "2", "3", "key", "title", *entry(0)]) | st.text(), inner
        )
    ),
    max_leaves=12,
)
VALUE = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())) | JSON
ANY_ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["1", "2", "3", 1, 4, None]),
        "title": st.sampled_from([song.title for song in PACK.songs]) | VALUE,
        "artist": st.sampled_from([song.artist for song in PACK.songs]) | VALUE,
        "emotions_text": st.sampled_from(EMOTIONS) | VALUE,
        "moments_text": st.sampled_from(MOMENTS) | VALUE,
        "emotions_confidence": st.sampled_from(["high", " Low ", "MEDIUM"]) | VALUE,
        "moments_confidence": st.sampled_from(["high", "low", "medium"]),
    },
)
ANY_DOCUMENT = (
    st.fixed_dictionaries({"songs": st.dictionaries(st.sampled_from("1234"), ANY_ENTRY | JSON)})
    | st.fixed_dictionaries({"songs": st.lists(ANY_ENTRY)})
    | JSON
).map(json.dumps)
PIECES = st.lists(
    st.sampled_from(
        ['{"songs":', "{", "}", "[", "]", '"1":', '"2"', ":", ",", '"', "\\", "```", json.dumps(entry(0))]
    )
).map("".join)
ANY_CONTENT = st.one_of(
    st.text(st.characters(exclude_categories=())),
    PIECES,
    ANY_DOCUMENT,
    st.tuples(ANY_DOCUMENT, st.integers(0, 400)).map(lambda cut: cut[0][: cut[1]]),
)


@given(ANY_CONTENT)
def test_any_content_gives_each_song_valid_texts_or_a_reason(content: str) -> None:
    answer = read_content(content)
    assert answer.written.keys().isdisjoint(causes(answer))
    assert answer.written.keys() | causes(answer).keys() == {11, 12, 13}
    assert len(answer.rejected) + len(answer.written) == 3
    for texts in answer.written.values():
        assert is_valid_text(texts.emotions_text)
        assert is_valid_text(texts.moments_text)
        assert {texts.emotions_confidence, texts.moments_confidence} <= {"low", "medium", "high"}
    for failed in answer.rejected:
        assert failed.reason.endswith(".")


@given(
    st.integers(0, len(DOCUMENT)), st.sampled_from([DOCUMENT, json.dumps({"songs": LIST}), json.dumps(LIST)])
)
def test_an_answer_that_is_cut_off_gives_what_was_whole_and_nothing_else(length: int, content: str) -> None:
    cut = content[:length]
    whole = sum(f'"{text}"' in cut and cut.split(f'"{text}"')[1].find("}") >= 0 for text in MOMENTS[:3])
    answer = read_content(cut)
    assert answer.written == dict(list(WRITTEN.items())[:whole])
    assert set(causes(answer).values()) <= {"missing" if whole else "unparsable"}

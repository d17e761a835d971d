"""Models think, draft and repeat before they answer: the final document is read, and nothing but it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.generation.answer import ReadAnswer, read_texts
from aboutness_assets.generation.prompt import (
    EXAMPLE_EMOTIONS,
    EXAMPLE_MOMENTS,
    SYSTEM_PROMPT,
    chat_messages,
    response_format,
)
from tests.support.model_answers import DOCUMENT, ENTRIES, LIST, PACK, WRITTEN, causes, chat_of, entry

FINAL = ReadAnswer(WRITTEN, [])
DRAFT_ENTRIES = {
    key: entry(number, emotions_text=f"draft {key}", moments_text=f"sketching {key}")
    for number, key in enumerate(ENTRIES)
}
DRAFT = json.dumps({"songs": DRAFT_ENTRIES})
REQUEST = chat_messages(PACK)[-1]["content"]
FORM = SYSTEM_PROMPT[SYSTEM_PROMPT.index('{"songs"') :]
FILLED_FORM = FORM.replace('"…"', f'"{EXAMPLE_EMOTIONS}"', 2).replace('"…"', f'"{EXAMPLE_MOMENTS}"')
SCHEMA = json.dumps(response_format(PACK))
DESCRIBED = json.dumps(
    {
        "songs": {
            "1": entry(
                0,
                emotions_text="Feelings, at most 80 characters",
                moments_text="Situations, at most 80 characters",
            )
        }
    }
)


def read(content: str | None, finish_reason: str = "stop", reasoning: str | None = None) -> ReadAnswer:
    return read_texts(replace(chat_of(content, finish_reason), reasoning=reasoning), PACK)


def nothing_of(answer: ReadAnswer) -> None:
    assert answer.written == {}
    assert causes(answer) == dict.fromkeys((11, 12, 13), "unparsable")


THOUGHTS = {
    "think": f"<think>\nMaybe {DRAFT}? No.\n</think>\n\n",
    "upper case": f"<THINK>{DRAFT}</THINK>",
    "thinking": f"<thinking>{DRAFT}</thinking>",
    "reasoning with attributes": f'<reasoning effort="high">{DRAFT}</reasoning>',
    "a vendor's prefix": f"<seed:think>{DRAFT}</seed:think>",
    "never opened": f"First {DRAFT}, hmm.</think>",
    "twice": f"<think>{DRAFT}</think> wait <think>{DRAFT}</think>",
    "one in the other": f"<think>I close </think> later. {DRAFT}</think>",
    "empty": "<think>\n\n</think>\n\n",
    "mistral": f"[THINK]{DRAFT}[/THINK]",
    "kimi": f"◁think▷{DRAFT}◁/think▷",
    "begin and end": f"<|begin_of_thought|>{DRAFT}<|end_of_thought|><|begin_of_solution|>",
    "cohere": f"<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>",
    "harmony": f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>",
    "gemma": f"<|channel>thought\n{DRAFT}<channel|>",
    "closed by the answer": f"<think>{DRAFT} <answer>",
    "no tag": f"Draft: {DRAFT}\nThat is too plain. Final:\n",
    "a document for one song": f"First {json.dumps({'songs': {'1': DRAFT_ENTRIES['1']}})} and so on.\n",
    "the request": f"You ask {REQUEST}. ",
    "the form": f"I shall fill in {FORM} like {FILLED_FORM}. ",
    "the schema": f"By the schema {SCHEMA}: ",
    "braces": 'A set {"a", {"b"}} and [{"c" of {{d}}: ',
    "a quotation mark": 'It is 6" long: ',
    "a lone tag": "<think> ",
}


@pytest.mark.parametrize("thoughts", [THOUGHTS[name] for name in THOUGHTS if name != "a lone tag"])
@pytest.mark.parametrize("answer", [DOCUMENT, f"```json\n{json.dumps(LIST)}\n```\nThat is it."])
def test_what_comes_before_the_answer_is_not_read(thoughts: str, answer: str) -> None:
    assert read(thoughts + answer) == FINAL


@pytest.mark.parametrize(
    "after",
    [
        "\n\nI hope these {texts} help!",
        REQUEST,
        FORM,
        FILLED_FORM,
        DESCRIBED,
        SCHEMA,
        '{"status": "ok"}',
        "</answer>",
    ],
)
def test_what_repeats_the_question_after_the_answer_is_no_answer(after: str) -> None:
    assert read(DOCUMENT + after) == FINAL


@pytest.mark.parametrize("content", [REQUEST, FORM, FILLED_FORM, DESCRIBED, SCHEMA, REQUEST + FORM])
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_the_question_alone_is_no_answer(content: str, finish_reason: str) -> None:
    nothing_of(read(content, finish_reason))


@pytest.mark.parametrize("finish_reason", ["stop", "length"])
@pytest.mark.parametrize(
    "content",
    [
        *(
            thoughts
            for name, thoughts in THOUGHTS.items()
            if name not in ("empty", "no tag", "a document for one song")
        ),
        f"<think>{DRAFT}",
        f"<think>a</think> <think>{DRAFT}",
        f"<think>{DRAFT[:-40]}",
        f"<think>{DRAFT[:-40]}</think>",
        f"{DRAFT}\nBetter: " + '{"songs": {"1": {"emotions_text": "wis',
        f"{DRAFT}\nBetter: " + '{"songs": {',
        f"{DRAFT}\nBetter: " + "{",
        DRAFT + "<think>That will not do",
        DRAFT + '\nFinal: {"songs": {}}',
    ],
)
def test_a_draft_is_never_the_answer(content: str, finish_reason: str) -> None:
    assert read(content, finish_reason).written == {}


def test_a_draft_that_the_limit_cut_the_answer_after_is_not_the_answer() -> None:
    nothing_of(read(f"Draft: {DRAFT}\nThe second is weak. I shall", "length"))
    nothing_of(read(f"Draft: {DRAFT}\nFinal: {DOCUMENT[:60]}", "length"))
    # Models in JSON mode may go on with white space after the end.
    assert read(DOCUMENT + "\n \n" * 500, "length") == FINAL


def test_of_an_answer_that_is_cut_after_a_draft_the_whole_entries_count() -> None:
    cut = DOCUMENT[: DOCUMENT.index('"3"') + 20]
    for thoughts in (THOUGHTS["think"], THOUGHTS["no tag"]):
        for finish_reason in ("stop", "length"):
            answer = read(thoughts + cut, finish_reason)
            assert answer.written == {11: WRITTEN[11], 12: WRITTEN[12]}
            assert causes(answer) == {13: "missing"}


def test_of_a_document_that_breaks_in_the_middle_the_entries_before_count() -> None:
    broken = DOCUMENT.replace("dancing at Halloween", 'dancing at "Halloween"')
    assert read(f"<think>{DRAFT}</think>```json\n{broken}\n```").written == {11: WRITTEN[11]}
    assert read(DOCUMENT[:-2] + ",}}").written == WRITTEN


def test_a_tag_in_a_title_or_a_text_is_no_tag() -> None:
    for tag in ("</think>", "<think>", "<|channel|>analysis"):
        entries = ENTRIES | {"2": entry(1, title="Thriller " + tag)}
        assert read(THOUGHTS["think"] + json.dumps({"songs": entries})) == FINAL
        assert read(json.dumps({"songs": entries})) == FINAL


def test_the_outermost_document_decides() -> None:
    nested = {
        "songs": ENTRIES | {"1": entry(0, notes={"1": DRAFT_ENTRIES["1"]})},
        "draft": {"1": DRAFT_ENTRIES["1"]},
    }
    assert read(f"Here: {json.dumps(nested)} Done.") == FINAL
    assert (
        read(f"Here: {json.dumps([{'a': [1], 'result': {'b': {}, 'songs': ENTRIES, 'c': 1}}])} Done.")
        == FINAL
    )


# --- Answers that an endpoint took for thoughts -------------------------------------------------------


@pytest.mark.parametrize("content", [None, "", "\n\n", "<think>\n</think>\n", f"<think>{DRAFT}</think>"])
@pytest.mark.parametrize("thoughts", THOUGHTS.values())
def test_the_document_that_thoughts_end_with_is_read_where_there_is_no_content(
    content: str | None, thoughts: str
) -> None:
    for answer in (DOCUMENT, f"```json\n{DOCUMENT}\n```\n", f"{DOCUMENT}</think>"):
        assert read(content, reasoning=thoughts + answer).written in (WRITTEN, {})
        if not answer.endswith(">"):
            assert read(content, reasoning=thoughts + answer) == FINAL


@pytest.mark.parametrize(
    ("content", "finish_reason", "reasoning"),
    [
        (None, "length", DRAFT),
        ("", "stop", DRAFT + " Hmm, the second is weak."),
        ("", "stop", DRAFT[:-30]),
        ("", "stop", f"{DRAFT} Better: {DOCUMENT[:50]}"),
        ("I cannot do that.", "stop", DRAFT),
        ("{}", "stop", DRAFT),
        ("[]", "stop", DRAFT),
    ],
)
def test_a_draft_among_thoughts_is_not_the_answer(
    content: str | None, finish_reason: str, reasoning: str
) -> None:
    assert read(content, finish_reason, reasoning).written == {}


def test_thoughts_beside_an_answer_are_not_read() -> None:
    assert read(DOCUMENT, reasoning=DRAFT) == FINAL
    one = json.dumps({"songs": {"1": ENTRIES["1"]}})
    assert read(one, reasoning=DRAFT).written == {11: WRITTEN[11]}


# --- Whatever comes before ----------------------------------------------------------------------------

NOISE = st.lists(
    st.sampled_from(
        [
            *(DRAFT, DRAFT[:90], REQUEST, FORM, FILLED_FORM, json.dumps(list(DRAFT_ENTRIES.values()))),
            *(
                "<think>",
                "</think>",
                "<|channel|>analysis",
                "{",
                "}",
                "[",
                "]",
                '"',
                ":",
                ",",
                "\\",
                "```",
                "\n",
            ),
            *('{"songs":', '{"1":', "hmm ", "{}", "[{", '{"a":1}'),
        ]
    )
    | st.text(max_size=8),
    max_size=12,
).map("".join)


@given(NOISE, st.sampled_from([DOCUMENT, json.dumps(LIST), f"```json\n{DOCUMENT}\n```"]))
def test_whatever_is_thought_the_document_after_it_is_read(noise: str, answer: str) -> None:
    assert read(f"<think>{noise}</think>{answer}") == FINAL
    assert read(f"<think>{noise}</think>{answer}", "length") == FINAL
    assert read(None, reasoning=f"{noise}\n{answer}").written in (WRITTEN, {})


@given(NOISE, st.sampled_from(["stop", "length"]))
def test_whatever_is_thought_without_an_end_is_not_read(noise: str, finish_reason: str) -> None:
    content = "<think>" + noise.replace("</think>", "")
    assert read(content, finish_reason).written == {}


@given(NOISE, st.integers(1, len(DOCUMENT)))
def test_no_draft_is_mixed_with_an_answer_that_was_cut(noise: str, length: int) -> None:
    answer: ReadAnswer = read(f"<think>{noise}</think>{DOCUMENT[:length]}", "length")
    assert set(answer.written.items()) <= set(WRITTEN.items())


@pytest.mark.parametrize(
    "thought",
    ['the song {"1"} feels "warm" ', DRAFT + "\n", '{"a":', "[{", "<think>", '{"songs":{"1":'],
    ids=repr,
)
def test_a_thought_of_hundreds_of_kilobytes_hides_nothing(thought: str) -> None:
    long = thought * (300_000 // len(thought))
    assert read(f"{long}</think>{DOCUMENT}") == FINAL

"""Finding the form that an endpoint takes, without an endpoint: every set of refused parts, every wording."""

import re
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.provider.chat_form import chat_parts
from aboutness_assets.provider.form import Form, FormRefused, Knowledge, Level, Part

PARTS = chat_parts("none")
FULL: Form = (0,) * len(PARTS)
PLAIN: Form = tuple(len(part.levels) - 1 for part in PARTS)
LEVELS = sum(PLAIN)

BEST = list(product(*(range(level + 1) for level in PLAIN)))
"""The first levels that an endpoint takes, for every endpoint that can be."""

Words = Callable[[Form, Form], str]


def says_nothing(_form: Form, _best: Form) -> str:
    return "Invalid argument."


def names_a_part(form: Form, best: Form) -> str:
    refused = next(n for n, level in enumerate(form) if level < best[n])
    return f"Unknown parameter: {['response_format', 'max_tokens', 'system role', 'reasoning'][refused]}"


def names_all_parts(_form: Form, _best: Form) -> str:
    return "Only response_format, max_tokens, the system role and reasoning are known here; one was wrong."


def names_another_part(form: Form, best: Form) -> str:
    """As an endpoint whose words lead astray."""
    taken = [n for n, level in enumerate(form) if level >= best[n]]
    return (
        names_a_part((0,) * len(form), tuple(int(n in taken[:1]) for n in range(len(form)))) if taken else ""
    )


def ask(
    knowledge: Knowledge, best: Form, words: Words, server_errors: bool = False
) -> tuple[list[Form], list[Form]]:
    """One request to an endpoint that takes ``best`` and less: the forms refused, and answered."""
    if knowledge.is_settled:
        form = knowledge.form
        return ([], [form]) if all(map(int.__ge__, form, best)) else ([form], [])
    candidates = knowledge.candidates()
    form = next(candidates)
    refused: list[tuple[Form, FormRefused]] = []
    while any(level < first for level, first in zip(form, best, strict=True)):
        failures = len(refused) + 1 if server_errors else 0
        refused.append((form, FormRefused(ValueError(), words(form, best), server_errors=failures)))
        form = candidates.send(refused[-1][1])
    knowledge.answered(form, refused)
    return [form for form, _ in refused], [form]


@pytest.mark.parametrize("words", [says_nothing, names_a_part, names_all_parts, names_another_part])
@pytest.mark.parametrize("server_errors", [False, True])
def test_every_set_of_refused_parts_is_found_with_few_requests_and_nothing_else_is_left_out(
    words: Words, server_errors: bool
) -> None:
    for best in BEST:
        knowledge = Knowledge(PARTS)
        refused: list[Form] = []
        answered = 0
        while not knowledge.is_settled:
            refused_now, _ = ask(knowledge, best, words, server_errors)
            refused += refused_now
            answered += 1
            assert len(refused_now) <= (3 if server_errors else LEVELS + 1), (best, refused_now)
        assert knowledge.form == best
        assert answered <= 2 * LEVELS
        assert len(refused) <= 3 * LEVELS


def test_a_part_that_is_refused_alone_is_found_by_the_first_request() -> None:
    for part, level in enumerate(PLAIN):
        for first in range(1, level + 1):
            best = (*FULL[:part], first, *FULL[part + 1 :])
            for words in (says_nothing, names_a_part):
                knowledge = Knowledge(PARTS)
                _, [form] = ask(knowledge, best, words)
                assert form == best


def test_an_endpoint_that_takes_everything_is_asked_once() -> None:
    knowledge = Knowledge(PARTS)
    assert ask(knowledge, FULL, says_nothing) == ([], [FULL])
    assert knowledge.is_settled
    assert knowledge.settled() == {part.name: part.levels[0].name for part in PARTS}


def test_what_is_settled_is_taken_over() -> None:
    for best in BEST:
        first, second = Knowledge(PARTS), Knowledge(PARTS)
        while not first.is_settled:
            ask(first, best, says_nothing)
        second.recall(first.settled())
        assert second.is_settled
        assert second.form == best


@pytest.mark.parametrize(
    "known", [{}, {"response_format": "json_object"}, {"response_format": "tea", "x": "y"}]
)
def test_what_is_known_of_some_parts_or_in_other_words_settles_nothing(known: dict[str, str]) -> None:
    knowledge = Knowledge(PARTS)
    knowledge.recall(known)
    assert knowledge.form == FULL
    assert not knowledge.is_settled


def test_a_fault_that_passes_leaves_no_part_out() -> None:
    knowledge = Knowledge(PARTS)
    candidates = knowledge.candidates()
    refused: list[tuple[Form, FormRefused]] = []
    form = next(candidates)
    for failures in (1, 2):
        refused.append((form, FormRefused(ValueError(), "oops", server_errors=failures)))
        form = candidates.send(refused[-1][1])
    assert form == PLAIN
    knowledge.answered(form, refused)
    while not knowledge.is_settled:
        ask(knowledge, FULL, says_nothing)
    assert knowledge.form == FULL


def test_a_request_that_is_refused_in_every_form_teaches_nothing() -> None:
    knowledge = Knowledge(PARTS)
    candidates = knowledge.candidates()
    forms = [next(candidates)]
    with pytest.raises(StopIteration):
        while True:
            forms.append(candidates.send(FormRefused(ValueError(), "no")))
    assert forms[0] == FULL
    assert forms[-1] == PLAIN
    assert len(set(forms)) == len(forms) <= LEVELS + 2
    assert knowledge.form == FULL


def test_a_refusal_that_names_its_cause_is_tried_in_the_plain_form_at_once() -> None:
    candidates = Knowledge(PARTS).candidates()
    next(candidates)
    assert candidates.send(FormRefused(ValueError(), "moderation", names_cause=True)) == PLAIN


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=6).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.tuples(*(st.integers(0, size) for size in sizes)))
    ),
    st.booleans(),
    st.data(),
)
def test_any_parts_are_found_whatever_the_refusals_say(
    endpoint: tuple[list[int], Form], server_errors: bool, data: st.DataObject
) -> None:
    sizes, best = endpoint
    parts = [
        Part(f"p{n}", re.compile(f"p{n}"), tuple(Level(str(level), "refused") for level in range(size + 1)))
        for n, size in enumerate(sizes)
    ]
    names = st.sampled_from(["", *(part.name for part in parts)])
    knowledge = Knowledge(parts)
    for _ in range(2 * sum(sizes) + 1):
        if not knowledge.is_settled:
            ask(knowledge, best, lambda *_: data.draw(names), server_errors)
    assert knowledge.is_settled
    assert knowledge.form == best

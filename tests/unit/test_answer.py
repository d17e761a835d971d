"""Reading an answer: every song gets its own texts or a reason, whatever the model wrote."""

import csv
import gzip
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.domain.chat import ChatAnswer, Usage
from aboutness_assets.domain.songs import Aboutness, Song, SongId
from aboutness_assets.generation.answer import ReadAnswer, read_texts
from aboutness_assets.generation.cleaning import is_valid_text
from aboutness_assets.generation.packs import Pack, packs_of
from aboutness_assets.generation.prompt import EXAMPLE_EMOTIONS

SHARED_DATA = Path(__file__).parents[2].parent / "shared" / "data"

IMAGINE = Song(11, "Imagine", "John Lennon")
THRILLER = Song(12, "Thriller", "Michael Jackson")
HOME = Song(13, "Home (feat. Nobody) - 2011 Remaster", "Gabrielle Aplin")
PACK = Pack((IMAGINE, THRILLER, HOME))

EMOTIONS = ("gentle longing for peace", "gleeful dread", "soft relief of belonging", "sour envy", "numb calm")
MOMENTS = (
    "singing at a vigil",
    "dancing at Halloween",
    "unpacking in a first flat",
    "waiting rooms",
    "dawn swims",
)


def entry(number: int, **changes: Any) -> dict[str, Any]:
    whole = {
        "emotions_text": EMOTIONS[number],
        "emotions_confidence": "high",
        "moments_text": MOMENTS[number],
        "moments_confidence": "low",
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def aboutness(number: int) -> Aboutness:
    return Aboutness(EMOTIONS[number], "high", MOMENTS[number], "low")


ENTRIES = {"1": entry(0), "2": entry(1), "3": entry(2)}
WRITTEN: dict[SongId, Aboutness] = {11: aboutness(0), 12: aboutness(1), 13: aboutness(2)}


def chat_of(content: str | None, finish_reason: str = "stop", refusal: str | None = None) -> ChatAnswer:
    return ChatAnswer(content, finish_reason, refusal, Usage(0, 0, 0), model=None)


def read_content(content: str, pack: Pack = PACK) -> ReadAnswer:
    return read_texts(chat_of(content), pack)


def read(entries: Any, pack: Pack = PACK) -> ReadAnswer:
    return read_content(json.dumps({"songs": entries}), pack)


def causes(answer: ReadAnswer) -> dict[Any, str]:
    return {failed.song_id: failed.cause for failed in answer.rejected}


# --- Forms ----------------------------------------------------------------------------------------

DOCUMENT = json.dumps({"songs": ENTRIES})
LIST = [{"key": key, **texts} for key, texts in ENTRIES.items()]


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


# --- Entries --------------------------------------------------------------------------------------


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


# --- Whose entry? ---------------------------------------------------------------------------------


def echoing(**titles: Any) -> dict[str, Any]:
    return {
        key: {"title": titles.get(f"_{key}", song.title), **ENTRIES[key]}
        for key, song in PACK.keyed().items()
    }


def test_swapped_entries_are_seen_by_their_titles() -> None:
    answer = read(echoing(_1="Thriller", _2="Imagine"))
    assert causes(answer) == {11: "another_song", 12: "another_song"}
    assert answer.written == {13: WRITTEN[13]}


def test_swapped_entries_are_seen_by_their_artists_when_titles_are_alike() -> None:
    pack = Pack((Song(1, "Hallelujah", "Boyce Avenue"), Song(2, "Hallelujah", "Brett Young")))
    swapped = {
        "1": entry(0, title="Hallelujah", artist="Brett Young"),
        "2": entry(1, title="Hallelujah", artist="Boyce Avenue"),
    }
    assert causes(read(swapped, pack)) == {1: "another_song", 2: "another_song"}
    assert causes(read({"1": swapped["2"], "2": swapped["1"]}, pack)) == {}


@pytest.mark.parametrize(
    "echo",
    [
        HOME.title,
        "Home",
        "home (feat nobody) 2011 remaster",
        "Home (feat. Nobdy) - 2011 Remaster",
        '"Home (feat. Nobody) - 2011 Remaster"',
        "Gabrielle Aplin - Home (feat. Nobody) - 2011 Remaster",
        "",
        None,
        [],
        ...,
    ],
)
def test_a_title_that_is_echoed_loosely_or_not_at_all_is_tolerated(echo: Any) -> None:
    assert read({**ENTRIES, "3": entry(2, title=echo)}).written == WRITTEN


@pytest.mark.parametrize(
    ("title", "echo"),
    [
        ("פרצופים", "Partzufim"),
        ("透明だった世界", "Toumei Datta Sekai"),
        ("7", "Seven"),
        ("→", "Arrow"),
        ("1999", 1999),
        ("Tú", "Tu"),
        ("", "Untitled"),
    ],
)
def test_an_echo_that_cannot_be_judged_is_no_reason_to_reject(title: str, echo: Any) -> None:
    pack = Pack((Song(1, title, "a"), IMAGINE))
    assert causes(read({"1": entry(0, title=echo), "2": entry(1, title="Imagine")}, pack)) == {}


def test_an_echo_without_end_does_not_hold_up_the_others() -> None:
    """Compared whole, this one would take hours."""
    pack = Pack(tuple(Song(number, "ab" * 100, "cd" * 60) for number in range(2)))
    echoed = {str(key): {**entry(key), "title": "abx" * 1_000_000} for key in (1, 2)}
    assert len(read(echoed, pack).written) == 2


def test_an_echo_that_is_as_near_to_its_own_song_as_to_another_is_tolerated() -> None:
    pack = Pack((HOME, Song(1, "Homes", "a")))
    assert causes(read({"1": entry(0, title="Home"), "2": entry(1, title="Homes")}, pack)) == {}


@pytest.mark.parametrize(
    ("title", "other", "echo"),
    [
        ("פרצופים", "Imagine", "Imagine"),
        ("→", "~", "~"),
        ("Love Me", "Love Me Do", "love me do"),
        ("7", "24/7", "24/7"),
        ("Imagine", "Thriller", "Bohemian Rhapsody"),
    ],
)
def test_an_echo_of_another_song_is_seen(title: str, other: str, echo: str) -> None:
    pack = Pack((Song(1, title, "a"), Song(2, other, "b")))
    assert causes(read({"1": entry(0, title=echo), "2": entry(1, title=other)}, pack)) == {1: "another_song"}


@pytest.mark.parametrize(
    "bled",
    [
        (EMOTIONS[1], MOMENTS[1]),
        (EMOTIONS[1].upper(), f'"{MOMENTS[1]}"'),
        ("a dread that is gleeful", "at Halloween, dances and dancing"),
    ],
)
def test_two_songs_with_the_same_texts_are_both_rejected(bled: tuple[str, str]) -> None:
    answer = read(ENTRIES | {"3": entry(2, emotions_text=bled[0], moments_text=bled[1])})
    assert causes(answer) == {12: "another_song", 13: "another_song"}
    assert answer.written == {11: WRITTEN[11]}


@pytest.mark.parametrize(
    "changes",
    [
        {"emotions_text": EMOTIONS[1]},
        {"moments_text": MOMENTS[1]},
        {"emotions_text": EMOTIONS[1], "moments_text": f"{MOMENTS[1]} in 1984"},
    ],
)
def test_one_word_more_is_enough_to_tell_two_songs_apart(changes: dict[str, str]) -> None:
    assert causes(read(ENTRIES | {"3": entry(2, **changes)})) == {}


def test_two_versions_of_one_song_may_have_the_same_texts() -> None:
    pack = Pack((Song(1, "PS5", "salem ilese"), Song(2, "PS5 - Xbox X Version", "salem ilese")))
    assert causes(read({"1": entry(0), "2": entry(0)}, pack)) == {}


def test_texts_of_a_kind_are_not_taken_for_the_same() -> None:
    feelings = product(
        ("quiet", "aching", "stubborn", "giddy"), ("longing", "pride", "relief", "hope", "grief")
    )
    turns = ("that softens", "that hardens", "without a name", "for someone gone")
    texts = [f"{shade} {feeling} {turn}" for shade, feeling in feelings for turn in turns]
    pack = Pack(tuple(Song(number, f"Title {number}", "a") for number in range(len(texts))))
    same_moment = {"moments_text": "driving home alone through the rain"}
    entries = {
        key: entry(0, emotions_text=text, **same_moment)
        for key, text in zip(pack.keyed(), texts, strict=True)
    }
    assert len(texts) == 80
    assert causes(read(entries, pack)) == {}


def test_every_planted_swap_is_seen_among_real_titles_and_no_honest_echo_is_doubted() -> None:
    catalogue = SHARED_DATA / "catalogue_full.csv.gz"
    if not catalogue.exists():
        pytest.skip("the shared catalogue of real titles (../shared/data) is not here")
    with gzip.open(catalogue, "rt", encoding="utf-8") as lines:
        rows = [row for row, _ in zip(csv.DictReader(lines), range(1_000), strict=False)]
    songs = [Song(int(row["song_id"]), row["title"], row["artist"]) for row in rows]
    for pack in packs_of(songs, 5):
        titles = [song.title for song in pack.songs]
        honest = {key: entry(at, title=titles[at]) for at, key in enumerate(pack.keyed())}
        assert causes(read(honest, pack)) == {}
        swapped = {key: entry(at, title=titles[at - 1]) for at, key in enumerate(pack.keyed())}
        assert set(causes(read(swapped, pack)).values()) == {"another_song"}
        assert read(swapped, pack).written == {}


def test_a_model_that_tells_no_songs_apart_is_taken_at_its_word() -> None:
    same = {key: {**ENTRIES["1"], "title": song.title} for key, song in PACK.keyed().items()}
    assert len(PACK.songs) > 2
    assert causes(read(same)) == {}

"""Which fault strikes which request, and what each fault does to the answer."""

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from aboutness_assets.limits.headers import retry_after
from aboutness_local.control import Control
from aboutness_local.exchange import ApiError, Exchange, Route, decoded, encoded
from aboutness_local.fault_plan import FaultPlan
from aboutness_local.faults import FAULTS


def chat_exchange(number_of_songs: int = 3, form: str = "object") -> Exchange:
    songs = [{"key": str(n), "title": f"Title {n}", "artist": f"Artist {n}"} for n in range(number_of_songs)]
    entries: dict[str, dict[str, Any]] = {
        song["key"]: {
            "title": song["title"],
            "emotions_text": f"joy {song['key']}, calm",
            "emotions_confidence": "high",
            "moments_text": f"noon {song['key']}, night",
            "moments_confidence": "low",
        }
        for song in songs
    }
    answer: Any = entries if form == "object" else [{"key": key, **entry} for key, entry in entries.items()]
    message = {"content": json.dumps({"songs": answer}), "refusal": None}
    usage = {
        "prompt_tokens": 90,
        "completion_tokens": 30,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 40},
    }
    body = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": usage,
        "service_tier": "flex",
    }
    request = {"model": "m", "response_format": {"type": "json_schema"}, "service_tier": "flex"}
    return Exchange("chat", request=request, songs=songs, body=body, service_tier="flex")


def embedding_exchange(number_of_texts: int = 3) -> Exchange:
    vectors = np.eye(number_of_texts, 8, dtype=np.float32)
    data = [{"index": n, "embedding": encoded(vector, "base64")} for n, vector in enumerate(vectors)]
    request = {"model": "m", "encoding_format": "base64"}
    inputs = [f"text {n}" for n in range(number_of_texts)]
    body = {"data": data, "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    return Exchange("embeddings", request=request, inputs=inputs, body=body)


def struck(name: str, exchange: Exchange, seed: int = 1) -> Exchange:
    FAULTS[name].inject(exchange, Random(seed))
    return exchange


def choice_of(exchange: Exchange) -> dict[str, Any]:
    assert isinstance(exchange.body, dict)
    choice: dict[str, Any] = exchange.body["choices"][0]
    return choice


def songs_of(exchange: Exchange) -> Any:
    return json.loads(choice_of(exchange)["message"]["content"])["songs"]


def data_of(exchange: Exchange) -> list[dict[str, Any]]:
    assert isinstance(exchange.body, dict)
    data: list[dict[str, Any]] = exchange.body["data"]
    return data


def usage_of(exchange: Exchange) -> Any:
    assert isinstance(exchange.body, dict)
    return exchange.body.get("usage")


def names(plan: FaultPlan, requests: int, route: Route = "chat") -> list[str | None]:
    make = chat_exchange if route == "chat" else embedding_exchange
    return [fault.name if (fault := plan.choose(make())) else None for _ in range(requests)]


def test_without_a_control_every_reply_is_honest() -> None:
    assert names(FaultPlan(Control()), 50) == [None] * 50


def test_a_script_is_used_up_in_order_by_its_own_route() -> None:
    script = ["http_429", None, "http_500"]
    plan = FaultPlan(Control.model_validate({"chat": {"script": script}}))
    assert names(plan, 2, "embeddings") == [None, None]
    assert names(plan, 5) == ["http_429", None, "http_500", None, None]


def test_probabilities_are_met_and_the_seed_repeats_the_draws() -> None:
    control = Control.model_validate(
        {"seed": 7, "chat": {"probabilities": {"http_500": 0.2, "refusal": 0.3}}}
    )
    drawn = names(FaultPlan(control), 2000)
    shares = Counter(drawn)
    assert 340 <= shares["http_500"] <= 460
    assert 520 <= shares["refusal"] <= 680
    assert names(FaultPlan(control), 2000) == drawn
    assert names(FaultPlan(control.model_copy(update={"seed": 8})), 2000) != drawn


def test_embedding_requests_in_between_change_no_chat_draw() -> None:
    faults = {"probabilities": {"http_500": 0.5}}
    control = Control.model_validate({"chat": faults, "embeddings": faults})
    plan, interleaved = FaultPlan(control), FaultPlan(control)
    drawn = []
    for _ in range(50):
        names(interleaved, 1, "embeddings")
        drawn += names(interleaved, 1)
    assert drawn == names(plan, 50)


def test_poison_strikes_every_request_with_such_a_title_and_leaves_the_script_alone() -> None:
    control = {"poison": {"Title 4": "refusal"}, "chat": {"script": ["http_500"]}}
    plan = FaultPlan(Control.model_validate(control))
    for _ in range(2):
        fault = plan.choose(chat_exchange(5))
        assert fault
        assert fault.name == "refusal"
    assert names(plan, 2) == ["http_500", None]


def test_a_fault_without_effect_gives_way_to_an_honest_reply() -> None:
    control = {"chat": {"probabilities": {"swapped_keys": 1.0}}}
    plan = FaultPlan(Control.model_validate(control))
    assert plan.choose(chat_exchange(1)) is None
    assert plan.choose(chat_exchange(2)) is FAULTS["swapped_keys"]


def test_response_format_is_refused_only_where_it_asks_for_a_schema() -> None:
    exchange = chat_exchange()
    assert FAULTS["http_400_response_format"].applies(exchange)
    exchange.request["response_format"] = {"type": "json_object"}
    assert not FAULTS["http_400_response_format"].applies(exchange)


@pytest.mark.parametrize(
    "control",
    [
        {"chat": {"script": ["no_such_fault"]}},
        {"chat": {"probabilities": {"embedding_nan": 0.1}}},
        {"embeddings": {"script": ["refusal"]}},
        {"poison": {"Title": "embedding_nan"}},
        {"chat": {"probabilities": {"http_500": 0.6, "http_502": 0.6}}},
        {"latency_seconds": {"chat": -1}},
        {"limits": {"requests_per_minute": -1}},
        {"prices": {"chat": {"input": -1}}},
        {"refused_parameters": ["model"]},
        {"unknown": 1},
    ],
)
def test_an_invalid_control_is_refused(control: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Control.model_validate(control)


def makes_a_difference(name: str, make: Callable[[], Exchange]) -> bool:
    """With one seed or another: some spellings of a title cannot be tidied further."""
    try:
        return any(struck(name, make(), seed) != make() for seed in range(20))
    except ApiError as error:
        return error.status >= 400


@pytest.mark.parametrize("form", ["object", "list"])
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if "chat" in fault.routes])
def test_every_chat_fault_makes_a_difference(name: str, form: str) -> None:
    if (name, form) == ("list_form", "list"):
        return
    assert makes_a_difference(name, lambda: chat_exchange(form=form))


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if "embeddings" in fault.routes])
def test_every_embedding_fault_makes_a_difference(name: str) -> None:
    assert makes_a_difference(name, embedding_exchange)


@pytest.mark.parametrize("form", ["object", "list"])
def test_swapped_keys_exchange_whole_entries(form: str) -> None:
    songs = songs_of(struck("swapped_keys", chat_exchange(2, form)))
    entries = songs if form == "object" else {entry["key"]: entry for entry in songs}
    assert entries["0"]["title"] == "Title 1"
    assert entries["1"]["emotions_text"] == "joy 0, calm"


@pytest.mark.parametrize("form", ["object", "list"])
def test_a_dropped_key_leaves_the_others(form: str) -> None:
    assert len(songs_of(struck("dropped_key", chat_exchange(4, form)))) == 3


@pytest.mark.parametrize("form", ["object", "list"])
def test_a_duplicate_key_comes_in_list_form(form: str) -> None:
    keys = [entry["key"] for entry in songs_of(struck("duplicate_key", chat_exchange(3, form)))]
    assert len(keys) == 4
    assert set(keys) == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("nul_character", "\x00"),
        ("lone_surrogate", "\ud83d"),
        ("newlines", "\n"),
        ("confidence_tag", "["),
        ("right_to_left_marks", "\u202e"),
    ],
)
def test_exactly_one_text_shows_its_fault(name: str, sign: str) -> None:
    songs = songs_of(struck(name, chat_exchange()))
    texts = [song[field] for song in songs.values() for field in ("emotions_text", "moments_text")]
    assert sum(sign in text for text in texts) == 1


def test_the_confidence_tag_comes_in_any_case() -> None:
    texts = {
        text
        for seed in range(20)
        for song in songs_of(struck("confidence_tag", chat_exchange(1), seed)).values()
        for text in (song["emotions_text"], song["moments_text"])
        if "[" in text
    }
    assert len(texts) > 10
    assert all(text.lower().endswith("[confidence: high]") for text in texts)


def test_swapped_texts_leave_the_titles_in_place() -> None:
    songs = songs_of(struck("swapped_texts", chat_exchange(2)))
    assert [song["title"] for song in songs.values()] == ["Title 0", "Title 1"]
    assert [song["emotions_text"] for song in songs.values()] == ["joy 1, calm", "joy 0, calm"]
    assert [song["moments_text"] for song in songs.values()] == ["noon 1, night", "noon 0, night"]


@pytest.mark.parametrize("form", ["object", "list"])
def test_shifted_keys_give_every_song_the_entry_of_the_one_before(form: str) -> None:
    songs = songs_of(struck("shifted_keys", chat_exchange(3, form)))
    entries = songs if form == "object" else {entry["key"]: entry for entry in songs}
    assert {key: entry["title"] for key, entry in entries.items()} == {
        "0": "Title 2",
        "1": "Title 0",
        "2": "Title 1",
    }


@pytest.mark.parametrize(
    ("name", "copied"), [("bleed_exact", 2), ("bleed_near", 0), ("bleed_of_one_text", 1)]
)
def test_bleed_gives_one_song_the_texts_of_its_neighbor(name: str, copied: int) -> None:
    texts = [
        song[field]
        for song in songs_of(struck(name, chat_exchange())).values()
        for field in ("emotions_text", "moments_text")
    ]
    assert len(texts) - len(set(texts)) == copied


def test_an_absurd_wait_is_longer_than_any_run() -> None:
    with pytest.raises(ApiError) as refused:
        struck("http_429_retry_after_absurd", chat_exchange())
    assert retry_after(refused.value.headers) == 365 * 24 * 3600


def test_a_wait_until_a_date_is_one_to_two_seconds_long() -> None:
    with pytest.raises(ApiError) as refused:
        struck("http_429_retry_after_date", chat_exchange())
    assert 0 < (retry_after(refused.value.headers) or 0) <= 2


def test_cut_answers_say_why() -> None:
    assert choice_of(struck("truncated_json", chat_exchange()))["finish_reason"] == "length"
    assert choice_of(struck("content_filter", chat_exchange()))["finish_reason"] == "content_filter"
    assert choice_of(struck("refusal", chat_exchange()))["message"]["refusal"]


def test_shuffled_embeddings_keep_their_index() -> None:
    data = data_of(struck("embedding_shuffled", embedding_exchange(4)))
    assert [item["index"] for item in data] != [0, 1, 2, 3]
    for item in data:
        assert decoded(item["embedding"])[item["index"]] == 1


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("embedding_nan", lambda vector: np.isnan(vector).any()),
        ("embedding_zero", lambda vector: not vector.any()),
        ("embedding_wrong_dimension", lambda vector: len(vector) == 7),
    ],
)
def test_exactly_one_vector_is_broken(name: str, broken: Any) -> None:
    data = data_of(struck(name, embedding_exchange()))
    assert sum(bool(broken(decoded(item["embedding"]))) for item in data) == 1


@pytest.mark.parametrize("make", [chat_exchange, embedding_exchange])
def test_usage_is_missing_in_either_form(make: Callable[[], Exchange]) -> None:
    struck_ones = [struck("usage_missing", make(), seed) for seed in range(20)]
    assert {usage_of(exchange) for exchange in struck_ones} == {None}
    bodies = [exchange.body for exchange in struck_ones]
    assert {isinstance(body, dict) and "usage" in body for body in bodies} == {False, True}


@pytest.mark.parametrize(
    ("name", "untrue"),
    [
        ("usage_zero", lambda count: count == 0),
        ("usage_negative", lambda count: count < 0),
        ("usage_absurd", lambda count: count > 1e9),
    ],
)
def test_usage_is_untrue_in_every_count(name: str, untrue: Callable[[int], bool]) -> None:
    usage = usage_of(struck(name, chat_exchange()))
    counts = [*usage.values(), usage["prompt_tokens_details"]["cached_tokens"]]
    assert [untrue(count) for count in counts if isinstance(count, int)] == [True] * 4
    assert all(untrue(count) for count in usage_of(struck(name, embedding_exchange())).values())


def test_more_tokens_are_cached_than_there_were() -> None:
    usage = usage_of(struck("usage_cached_above_prompt", chat_exchange()))
    assert usage["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"] == 90


def test_flex_that_is_unavailable_is_a_429_that_names_no_time_and_no_rate_limit() -> None:
    with pytest.raises(ApiError) as refused:
        struck("flex_unavailable", chat_exchange())
    assert (refused.value.status, refused.value.headers) == (429, {})
    assert refused.value.body["error"]["code"] == "resource_unavailable"


def test_flex_faults_strike_only_requests_for_flex() -> None:
    exchange = chat_exchange()
    del exchange.request["service_tier"]
    assert not FAULTS["flex_unavailable"].applies(exchange)
    assert not FAULTS["flex_served_as_default"].applies(exchange)

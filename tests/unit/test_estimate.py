import random
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.money.estimate import (
    BilledEmbeddings,
    BilledRequest,
    Estimate,
    History,
    RateLimits,
    RequestShape,
    SongsLeft,
    estimate,
    request_shape,
    songs_left,
)
from aboutness_assets.money.figures import Figure, ratio
from aboutness_assets.money.prices import chat_price, embedding_price
from aboutness_assets.money.token_counts import by_characters

PRICES = (chat_price("m", "0.1,0.01,0.5"), embedding_price("m", "0.02"))
SHAPE = RequestShape(fixed=600, per_song=24, entry=30)
UNKNOWN = RateLimits()
FIGURES = [each.name for each in fields(Estimate) if each.name not in ("songs", "billed_requests")]
LEFT = SongsLeft(songs=10_000, packs=1_000, title_tokens=50_000, artist_tokens=50_000)


def billed(
    prompt_tokens: int, completion_tokens: int, *, cached_tokens: int = 0, cache_write_tokens: int = 0
) -> BilledRequest:
    """A pack of ten of LEFT's average songs: 940 prompt and 590 completion tokens are predicted."""
    return BilledRequest(10, 50, 50, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens)


def estimated(
    chat: Sequence[BilledRequest] = (), limits: RateLimits = UNKNOWN, left: SongsLeft = LEFT
) -> Estimate:
    return estimate(left, SHAPE, History(chat), PRICES, limits, 500)


def test_before_anything_is_billed_the_words_decide() -> None:
    found = estimated()

    # 1 % of the 1,000 packs is asked again, for one song of 634 prompt and 59 completion tokens.
    requests = found.chat_requests
    assert [requests.low, requests.expected, requests.high] == pytest.approx([1000, 1010, 1030])
    assert found.prompt_tokens.expected == pytest.approx(940_000 + 10 * 634)
    assert found.completion_tokens.expected == pytest.approx(590_000 + 10 * 59)
    assert found.embedding_tokens.expected == 240_000
    assert (found.embedding_requests.low, found.embedding_requests.high) == (20, 1000)
    assert found.usd_standard is not None
    assert found.usd_standard.expected == pytest.approx(
        (0.1 * 946_340 + 0.5 * 590_590 + 0.02 * 240_000) / 1e6
    )
    assert found.billed_requests == 0


def test_what_requests_really_used_corrects_the_estimate_from_five_on() -> None:
    short = [billed(1175, 885)] * 4
    assert estimated(short) == estimated()

    found = estimated([*short, billed(1175, 885)])

    assert found.billed_requests == 5
    assert found.prompt_tokens.expected == pytest.approx(1.25 * (940_000 + 9.524 * 634), rel=1e-4)
    assert found.completion_tokens.expected == pytest.approx(1.5 * (590_000 + 9.524 * 59), rel=1e-4)
    # Alike to the token: what remains is how often songs are asked again, and what no sample tells.
    assert found.completion_tokens.high == pytest.approx(1.01 * 1.5 * (590_000 + 3 * 9.524 * 59), rel=1e-4)


def test_answers_that_differ_widen_the_band() -> None:
    alike = estimated([billed(940, 590 + wide) for wide in (-10, -5, 0, 5, 10)]).completion_tokens
    unlike = estimated([billed(940, 590 + wide) for wide in (-200, -100, 0, 100, 200)]).completion_tokens
    assert alike.expected == pytest.approx(unlike.expected)
    assert unlike.high - unlike.low > 5 * (alike.high - alike.low)


def test_titles_of_the_rest_that_are_longer_than_those_of_the_sample_cost_more() -> None:
    short_titles = [BilledRequest(10, 20, 20, 880, 560)] * 5
    found = estimated(short_titles)
    assert found.prompt_tokens.expected / LEFT.packs == pytest.approx(940 + 0.0095 * 634, rel=0.001)


def test_flex_halves_the_chat_and_not_the_embeddings() -> None:
    found = estimated()
    assert found.usd_standard is not None
    assert found.usd_flex is not None
    embedding = 0.02 * 240_000 / 1e6
    assert found.usd_flex.expected - embedding == pytest.approx((found.usd_standard.expected - embedding) / 2)


def test_cached_and_written_tokens_cost_what_they_cost_before() -> None:
    def usd(**of_prompt: int) -> float:
        found = estimated([billed(1000, 590, **of_prompt)] * 5)
        assert found.usd_standard is not None
        return found.usd_standard.expected

    assert usd(cached_tokens=500) < usd() < usd(cache_write_tokens=500)
    prompt = estimated([billed(1000, 590)] * 5).prompt_tokens.expected
    assert usd(cache_write_tokens=1000) - usd() == pytest.approx(0.025 * prompt / 1e6)


def test_packs_long_enough_for_the_cache_are_expected_to_be_written_to_it() -> None:
    twice = SongsLeft(10_000, 500, 50_000, 50_000)
    found = estimated(left=twice)
    assert found.usd_standard is not None
    assert found.usd_standard.expected == pytest.approx(
        (
            0.125 * found.prompt_tokens.expected
            + 0.5 * found.completion_tokens.expected
            + 0.02 * found.embedding_tokens.expected
        )
        / 1e6
    )


def test_requests_that_asked_again_raise_the_number_of_requests() -> None:
    first, again = billed(940, 590), BilledRequest(1, 5, 5, 634, 59, is_repeat=True)
    found = estimated([*[first] * 400, *[again] * 100])
    assert found.chat_requests.expected == pytest.approx(1000 * (1 + 101 / 500))


@pytest.mark.parametrize(
    ("limits", "minutes"),
    [
        (RateLimits(0, 0), None),
        (RateLimits(101, 0), 10),
        (RateLimits(0, 153_693), 10),
        (RateLimits(1010, 153_693), 10),
        (RateLimits(101, 1_000_000), 10),
    ],
)
def test_the_tighter_limit_decides_the_time(limits: RateLimits, minutes: float | None) -> None:
    found = estimated(limits=limits).minutes
    assert (None if found is None else pytest.approx(found.expected, rel=1e-3)) == minutes


def test_without_a_price_there_are_tokens_and_no_dollars() -> None:
    for prices in ((None, PRICES[1]), (PRICES[0], None)):
        found = estimate(LEFT, SHAPE, History(), prices, RateLimits(), 500)
        assert (found.usd_standard, found.usd_flex) == (None, None)
        assert found.prompt_tokens.expected > 0


def test_embeddings_follow_what_was_embedded_before() -> None:
    history = History([billed(940, 590)] * 5, BilledEmbeddings(songs=50, requests=2, tokens=1000))
    found = estimate(LEFT, SHAPE, history, PRICES, RateLimits(), 500)
    assert found.embedding_tokens.expected == 200_000
    assert found.embedding_requests.expected == 400


def test_nothing_left_costs_nothing() -> None:
    found = estimated(left=SongsLeft(0, 0, 0, 0), limits=RateLimits(100, 100))
    assert (found.songs, found.billed_requests) == (0, 0)
    assert {getattr(found, name) for name in FIGURES} == {Figure(0, 0, 0)}


@given(
    st.integers(0, 10**7),
    st.integers(1, 100),
    st.floats(1, 100),
    st.lists(
        st.builds(
            BilledRequest,
            st.integers(1, 100),
            st.floats(0, 1000),
            st.floats(0, 1000),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
        ),
        max_size=20,
    ),
)
def test_every_band_holds_what_is_expected(
    songs: int, pack_size: int, title_tokens: float, chat: list[BilledRequest]
) -> None:
    left = SongsLeft(songs, -(-songs // pack_size), title_tokens * songs, title_tokens * songs)
    found = estimated(chat, RateLimits(1000, 1_000_000), left)
    slack = 1 + 1e-9
    for name in FIGURES:
        figure = getattr(found, name)
        assert 0 <= figure.low <= figure.expected * slack <= figure.high * slack**2, name


def test_the_ratio_and_its_band() -> None:
    # The standard error is a tenth: 2.78 of them, and 1 %.
    found = ratio([(9, 10), (11, 10)])
    assert [found.low, found.expected, found.high] == pytest.approx([0.712, 1, 1.288])


def test_the_ratios_band_covers_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(1)
    covered = 0
    for _ in range(1000):
        sample = [(1.3 * 600 * draw.gauss(1, 0.1), 600.0) for _ in range(5)]
        band = ratio(sample)
        covered += band.low <= 1.3 <= band.high
    assert covered > 930


def test_songs_left_are_added_up_range_by_range() -> None:
    found = songs_left([("abcd", "abcdefgh"), ("", "夜")], by_characters(), [11, 0, 9], 10)
    assert (found.songs, found.packs) == (2, 3)
    assert [found.title_tokens, found.artist_tokens] == pytest.approx([1.2, 2.4 + 1.09])


def test_the_shape_is_what_requests_of_two_sizes_come_to() -> None:
    counter = replace(by_characters(), text=len, name=len)
    found = request_shape(counter, lambda songs: ["x" * 400, "y" * 24 * songs], "z" * 33)
    assert found == RequestShape(fixed=400, per_song=24, entry=30)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aboutness_assets.money.usage import check_usage

counts = st.integers(-10_000, 1_000_000)


@given(counts, counts, counts, counts, st.none() | st.integers(0, 5000), st.none() | st.integers(0, 5000))
def test_what_is_believed_can_be_true(
    prompt: int, cached: int, written: int, completion: int, most_prompt: int | None, most_answer: int | None
) -> None:
    usage = check_usage(
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=completion,
        max_prompt_tokens=most_prompt,
        max_completion_tokens=most_answer,
    )

    assert 0 <= usage.cached_tokens <= usage.prompt_tokens
    assert 0 <= usage.cache_write_tokens <= usage.prompt_tokens - usage.cached_tokens
    assert usage.completion_tokens >= 0
    assert most_prompt is None or usage.prompt_tokens <= most_prompt
    assert most_answer is None or usage.completion_tokens <= most_answer
    believed = (
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.completion_tokens,
    )
    assert (usage.problem is None) == (believed == (prompt, cached, written, completion))


@pytest.mark.parametrize(
    ("reported", "problem"),
    [
        (
            {"prompt_tokens": 900, "cached_tokens": 1200},
            "The provider's usage cannot be true: 1,200 cached tokens (at most 900 are possible).",
        ),
        (
            {"prompt_tokens": -3, "completion_tokens": -1},
            "The provider's usage cannot be true: -3 prompt tokens, -1 completion tokens.",
        ),
        (
            {"prompt_tokens": 900, "completion_tokens": 7000, "max_completion_tokens": 2000},
            "The provider's usage cannot be true: 7,000 completion tokens (at most 2,000 are possible).",
        ),
    ],
)
def test_what_cannot_be_true_is_said(reported: dict[str, int], problem: str) -> None:
    assert check_usage(**reported).problem == problem

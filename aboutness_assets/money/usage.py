"""Which of the tokens that a provider reports can be believed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckedUsage:
    """Token counts of one request that can be true.

    cached_tokens (read from the provider's cache) and cache_write_tokens (written to it) are disjoint parts
    of prompt_tokens. problem: a sentence on what was reported and cannot be true; None: all of it can.
    """

    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    problem: str | None


def check_usage(
    *,
    prompt_tokens: int,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
    completion_tokens: int = 0,
    max_prompt_tokens: int | None = None,
    max_completion_tokens: int | None = None,
) -> CheckedUsage:
    """Bring a provider's ``usage`` to the nearest counts that can be true.

    Counts below 0 become 0, cached and written tokens at most the prompt's; the maxima, where given, are what
    this very request can have had.
    """
    prompt = _between(prompt_tokens, max_prompt_tokens)
    cached = _between(cached_tokens, prompt)
    written = _between(cache_write_tokens, prompt - cached)
    completion = _between(completion_tokens, max_completion_tokens)
    changes = [
        f"{reported:,} {name} tokens (at most {believed:,} are possible)"
        if reported > believed
        else f"{reported:,} {name} tokens"
        for name, reported, believed in (
            ("prompt", prompt_tokens, prompt),
            ("cached", cached_tokens, cached),
            ("cache-write", cache_write_tokens, written),
            ("completion", completion_tokens, completion),
        )
        if reported != believed
    ]
    problem = f"The provider's usage cannot be true: {', '.join(changes)}." if changes else None
    return CheckedUsage(prompt, cached, written, completion, problem)


def _between(count: int, maximum: int | None) -> int:
    """The count, but neither below 0 nor above the maximum."""
    return max(0, count if maximum is None else min(count, maximum))

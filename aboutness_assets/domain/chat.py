"""What a chat answer comes to, whether it has just arrived or was kept by an earlier run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answered request as the provider counted them.

    cached_tokens and cache_write_tokens are prompt tokens too. is_credible: False where the counts cannot be
    true (negative, absurd, nothing used for a text, more tokens cached than sent); they are clamped then.
    """

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    is_credible: bool = True


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a chat answer holds; None is what it lacks.

    service_tier: as the answer states it. reasoning: what the endpoint took for the model's thoughts.
    """

    content: str | None
    finish_reason: str | None
    refusal: str | None
    usage: Usage | None
    model: str | None
    service_tier: str | None = None
    reasoning: str | None = None

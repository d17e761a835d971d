"""What a chat answer comes to, whether it has just arrived or was kept by an earlier run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them, 0 where it did not say; cached ones are prompt tokens too."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a chat answer holds; None is what it lacks."""

    content: str | None
    finish_reason: str | None
    refusal: str | None
    usage: Usage
    model: str | None

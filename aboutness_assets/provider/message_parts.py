"""What a chat message holds, whether as one string or in parts of any provider's shape."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Mistral and Anthropic: {"type": "thinking", …}; {"type": "redacted_thinking"}; {"type": "reasoning", …}.
_THOUGHT = re.compile(r"think|thought|reason|summary|analysis", re.IGNORECASE)
_REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")
"""Of DeepSeek and llama.cpp; of OpenRouter, vLLM and Groq; of Ollama."""


def read_content(message: Mapping[str, Any]) -> str | None:
    """The text of the answer: ``content`` as it is, or its text parts joined; None where there is none.

    Parts that hold thoughts, pictures or calls of tools are left out.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = [text for part in _parts(content) if not _is_thought(part) for text in _texts(part)]
    return "".join(texts) if texts else None


def read_reasoning(message: Mapping[str, Any]) -> str | None:
    """What the endpoint separated as the model's thoughts, under whatever name; None where it is blank."""
    for name in _REASONING_NAMES:
        said = message.get(name)
        text = said if isinstance(said, str) else "".join(t for part in _parts(said) for t in _texts(part))
        if text.strip():
            return text
    return None


def read_refusal(message: Mapping[str, Any]) -> str | None:
    """The model's refusal, beside the content or a part of it."""
    refusals = [message, *(part for part in _parts(message.get("content")) if isinstance(part, dict))]
    return next((said for part in refusals if isinstance(said := part.get("refusal"), str)), None)


def _parts(value: object) -> list[Any]:
    """A list of parts; a lone part counts as one."""
    return value if isinstance(value, list) else [value]


def _is_thought(part: object) -> bool:
    """Gemini marks a part with "thought": true, the others by its type."""
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    return part.get("thought") is True or (isinstance(kind, str) and _THOUGHT.search(kind) is not None)


def _texts(part: object) -> Iterator[str]:
    """The text of a part: a string, {"text": "…"}, {"text": {"value": "…"}} or {"content": "…"}."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        text = part.get("text", part.get("content"))
        value = text.get("value") if isinstance(text, dict) else text
        if isinstance(value, str):
            yield value

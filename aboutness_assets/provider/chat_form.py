"""The optional parts of a chat request, and the body that has them at given levels."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aboutness_assets.provider.form import Form, Level, Part

JSON_OBJECT_FORMAT = {"type": "json_object"}
"""For endpoints that refuse a json_schema; the prompt says the form in words."""

LENGTH_LIMITS = ("max_completion_tokens", "max_tokens")
"""Names under which endpoints take the limit of an answer's length, the current one first."""

_LEFT_OUT = Level("left out")


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# The words are those of OpenAI, vLLM, SGLang, llama.cpp, Gemini and the libraries that they use for grammars.
_RESPONSE_FORMAT = Part(
    "response_format",
    _words(
        r"response_?(format|schema|mime)|json[_ ]?(schema|object|mode)|structured|grammar"
        r"|\$(defs|ref)|additionalProperties|\bschema|too many states|guided|constrained"
    ),
    (
        Level("json_schema", "The endpoint refuses json_schema; from now on a json_object is asked for."),
        Level(
            "json_object",
            "The endpoint refuses json_schema and json_object; from now on the prompt alone asks for JSON.",
        ),
        _LEFT_OUT,
    ),
)
_LENGTH_LIMIT = Part(
    "length limit",
    _words(r"max_?(completion_|output_|new_)?tokens"),
    (
        Level(
            LENGTH_LIMITS[0],
            f"The endpoint refuses {LENGTH_LIMITS[0]}; from now on {LENGTH_LIMITS[1]} is sent instead.",
        ),
        Level(
            LENGTH_LIMITS[1],
            f"The endpoint refuses {' and '.join(LENGTH_LIMITS)}; from now on answers have no limit, so what "
            "a request can cost at most is an estimate.",
        ),
        _LEFT_OUT,
    ),
)
_SYSTEM_MESSAGE = Part(
    "system message",
    _words(r"\bsystem\b|developer (message|instruction|role)|\broles?\b"),
    (
        Level(
            "sent",
            "The endpoint refuses a system message; from now on the user message begins with what it says.",
        ),
        _LEFT_OUT,
    ),
)


def _reasoning_effort(effort: str) -> Part:
    return Part(
        f"reasoning_effort {effort}",
        _words(r"reasoning|thinking|\bthink\b|\bbudget\b|\beffort\b"),
        (
            Level("sent", f"The endpoint refuses reasoning_effort {effort!r}; from now on it is not sent."),
            _LEFT_OUT,
        ),
    )


def chat_parts(reasoning_effort: str) -> list[Part]:
    """The optional parts of every chat request; the effort is none where it is ''."""
    effort = [_reasoning_effort(reasoning_effort)] if reasoning_effort else []
    return [_RESPONSE_FORMAT, _LENGTH_LIMIT, _SYSTEM_MESSAGE, *effort]


def sends_effort(form: Form) -> bool:
    """Whether a request of this form says the effort."""
    return form[3:] == (0,)


def chat_body(
    form: Form,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    response_format: Mapping[str, Any],
    reasoning_effort: str,
    limit: int,
) -> dict[str, Any]:
    """A chat request in a form of ``chat_parts``; limit: of the answer's length, in tokens."""
    format_level, limit_level, system_level = form[:3]
    body: dict[str, Any] = {
        "model": model,
        "messages": without_system_message(messages) if system_level else messages,
    }
    if format_level < len(_RESPONSE_FORMAT.levels) - 1:
        body["response_format"] = JSON_OBJECT_FORMAT if format_level else response_format
    if sends_effort(form):
        body["reasoning_effort"] = reasoning_effort
    if limit_level < len(LENGTH_LIMITS):
        body[LENGTH_LIMITS[limit_level]] = limit
    return body


def without_system_message(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages with what the first one says at the head of the second, a blank line between them."""
    system, user, *others = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *others]

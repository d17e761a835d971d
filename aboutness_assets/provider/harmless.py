"""A harmless request: whether it passes tells a refusal of one request from a refusal of all."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from aboutness_assets.provider.chat_form import without_system_message

Harmless: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From a request that was refused, one of the same form that holds nothing that anybody would refuse."""

_WORD = "song"


def harmless_chat(messages: Sequence[Mapping[str, Any]], response_format: Mapping[str, Any]) -> Harmless:
    """Ask for the texts of a song that offends nobody; messages: a system and a user message."""

    def of(body: Mapping[str, Any]) -> dict[str, Any]:
        has_system = any(message.get("role") != "user" for message in body["messages"])
        harmless = {**body, "messages": messages if has_system else without_system_message(messages)}
        if "json_schema" in body.get("response_format", {}):
            harmless["response_format"] = response_format
        return harmless

    return of


def harmless_embedding(body: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for the vector of one plain word."""
    return {**body, "input": [_WORD]}

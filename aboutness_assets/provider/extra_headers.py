"""Headers that the user adds to every request, such as Azure's ``api-key`` or a gateway's own."""

import json
import re
from collections.abc import Mapping
from typing import Any

from aboutness_assets.domain.errors import SettingsError

AUTHENTICATION_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
"""With one of these, OPENAI_API_KEY is not sent."""

# The client sets these to fit the body; a wrong one breaks every request.
_OF_THE_BODY = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "transfer-encoding",
    }
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.1
_VALUE = re.compile(r"[!-~](?:[ -~\t]*[!-~])?")
_FORM = 'Set it to a JSON object of header names and values, such as {"api-key": "…"}.'


def read_extra_headers(given: str | None) -> dict[str, str]:
    """The headers of ABOUTNESS_EXTRA_HEADERS by lowercase name; none where it is empty.

    Raises SettingsError, never with a value.
    """
    if not given or not given.strip():
        return {}
    try:
        headers = json.loads(given, object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        raise SettingsError(f"ABOUTNESS_EXTRA_HEADERS is not valid JSON. {_FORM}") from None
    if not isinstance(headers, Mapping):
        raise SettingsError(f"ABOUTNESS_EXTRA_HEADERS is not a JSON object. {_FORM}")
    return {name.lower(): _checked(name, value) for name, value in headers.items()}


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name.lower() for name, _ in pairs]
    for name in names:
        if names.count(name) > 1 and _NAME.fullmatch(name):
            raise SettingsError(f"ABOUTNESS_EXTRA_HEADERS sets the header {name} twice. Leave one of them.")
    return dict(pairs)


def _checked(name: str, value: object) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"ABOUTNESS_EXTRA_HEADERS holds a name that no header can have. {_FORM}")
    if name.lower() in _OF_THE_BODY:
        raise SettingsError(
            f"ABOUTNESS_EXTRA_HEADERS sets {name}, which belongs to the body of a request. Leave it out."
        )
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise SettingsError(
            f"In ABOUTNESS_EXTRA_HEADERS the value of {name} is not a text that a header can carry: "
            "printable ASCII characters on one line, without white space around them."
        )
    return value

"""Types of launchpad fields. Unlike Dagster's own for str and int they accept no ``{"env": …}``.

Dagster's would read any environment variable, whose value a message or a page then shows. Values are checked
before a run is created: the configuration of a run is stored.
"""

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional, TypeAlias
from urllib.parse import unquote

# No public class of Dagster 1.13 makes a scalar type with a check of its own.
from dagster._config.config_type import ConfigScalar, ConfigScalarKind
from pydantic_core import CoreSchema, core_schema

from aboutness_assets.domain.errors import SettingsError

_ADDRESS = re.compile(r"://|^[^\s:/]+:[^\s@]+@(?!sha256:)\S|\bwww\.|\b(?:password|sslmode)=", re.IGNORECASE)

# Prefixes that providers and services give to their keys, JSON web tokens, headers and private keys.
_SECRET = re.compile(
    r"(?<![a-z0-9])(?:(?:sk|rk|pk)[-_]|(?:gsk|hf|npm|gh[opsur]|github_pat)_|(?:glpat|nvapi|xox[a-z])-)"
    r"[a-z0-9_-]{8}"
    r"|(?<![a-z0-9])(?:(?:pplx|xai)-[a-z0-9]{20}|akia[a-z0-9]{12}|aiza[a-z0-9_-]{16}|eyj[a-z0-9_-]{8})"
    r"|\bbearer \S{8}|-----begin|(?<!sha256:)(?<![0-9a-f])[0-9a-f]{32}",
    re.IGNORECASE,
)
_LONG_WORD = re.compile(r"[A-Za-z0-9]{24,}")
"""With digits and letters of both cases, only a generator writes so long a word; no model's name has one."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|HEADERS|URL|DSN", re.IGNORECASE)
_SHORTEST_SECRET = 8


def looks_secret(text: str) -> bool:
    """Whether a text looks like a key, a password or an address, or holds the value of a secret variable."""
    if _ADDRESS.search(text) or _SECRET.search(text):
        return True
    kinds = (str.isdigit, str.isupper, str.islower)
    if any(all(any(map(is_kind, word)) for is_kind in kinds) for word in _LONG_WORD.findall(text)):
        return True
    return any(secret in text for secret in secrets_of_the_environment())


def secrets_of_the_environment() -> Iterator[str]:
    """The values of variables whose names tell of secrets, and the passwords in them; no very short ones."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            _, _, password = value.partition("://")[2].rpartition("@")[0].partition(":")
            yield from (
                each for each in (value, password, unquote(password)) if len(each) >= _SHORTEST_SECRET
            )


class _Scalar(ConfigScalar):
    def __init__(self, name: str, kind: ConfigScalarKind, schema: CoreSchema) -> None:
        super().__init__(name, name, kind)
        self._schema = schema

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return self._schema


class _Words(_Scalar):
    def post_process(self, value: str) -> str:
        # Dagster's own kind of error would repeat the value.
        if looks_secret(value):
            raise SettingsError(
                "A text of the run configuration looks like a key, a password or an address. It is not used, "
                "stored or shown: such values come from environment variables alone (docs/operating.md)."
            )
        return value


if TYPE_CHECKING:
    OptionalText: TypeAlias = str | None
    OptionalNumber: TypeAlias = int | None
    SongIdText: TypeAlias = str
else:
    # Objects, not classes: Dagster takes them as they are, and typing's | does not.
    OptionalText = Optional[_Words("Text", ConfigScalarKind.STRING, core_schema.str_schema())]  # noqa: UP045
    OptionalNumber = Optional[_Scalar("Number", ConfigScalarKind.INT, core_schema.int_schema())]  # noqa: UP045
    SongIdText = _Scalar("SongId", ConfigScalarKind.STRING, core_schema.str_schema())

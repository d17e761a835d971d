"""The base URL of an endpoint, taken apart: what may be shown, and what is secret."""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from aboutness_assets.domain.errors import SettingsError

OPENAI_URL = "https://api.openai.com/v1"

_NAME_OF_SECRET = re.compile(r"key|token|secret|sig|auth|pass|pwd|code|cred", re.IGNORECASE)
_LENGTH_OF_SECRET = 20  # a value as long as this may be one under any name


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go.

    url: without user, query and fragment. query: sent with every request, '' for none. authorization: the
    header that the URL's user and password make, None without them. secrets: parts that must never be shown.
    """

    url: str
    host: str
    query: str = field(repr=False)
    authorization: str | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


def read_address(base_url: str) -> Address:
    """Takes a base URL apart. Raises SettingsError, never with a part of it, where it is not http(s)."""
    try:
        url = urlsplit(base_url.strip())
        host, _ = url.hostname, url.port
    except ValueError:
        url, host = urlsplit(""), None
    if url.scheme not in ("http", "https") or not host:
        raise SettingsError(
            f"OPENAI_BASE_URL is not the address of a server. Set it to something like {OPENAI_URL}, "
            "or leave it empty for OpenAI itself."
        )
    user, password = unquote(url.username or ""), unquote(url.password or "")
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    parameters = parse_qsl(url.query)
    secrets = [
        *(
            value
            for name, value in parameters
            if _NAME_OF_SECRET.search(name) or len(value) >= _LENGTH_OF_SECRET
        ),
        *(part for part in (password, url.password, login) if part and (user or password)),
    ]
    return Address(
        url=f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}",
        host=host,
        query=url.query,
        authorization=f"Basic {login}" if user or password else None,
        secrets=tuple(secrets),
    )

"""One HTTP request and its answer, carried by the ``openai`` client.

The client retries nothing and parses nothing here, so that a raw answer can be kept before it is read.
``import openai`` takes half a second, so it happens where it is used.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.provider.address import OPENAI_URL, read_address
from aboutness_assets.provider.extra_headers import AUTHENTICATION_HEADERS, read_extra_headers

if TYPE_CHECKING:
    import httpx2

_SHORTEST_SECRET = 8  # characters; a shorter part of an address or a header is a word, and stays in messages


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go.

    api_key and base_url: None or '' leave them to the environment (OPENAI_API_KEY, OPENAI_BASE_URL) as the
    ``openai`` client knows it. timeout_seconds: for one HTTP request, from its sending to the last byte of
    the answer. extra_headers: a JSON object of headers that every request carries, as the user wrote it; an
    authentication header among them takes the place of the key.
    """

    api_key: str | None = field(repr=False)
    base_url: str | None = field(repr=False)
    timeout_seconds: float
    extra_headers: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; status 0 and ``trouble`` (half a sentence) where no whole answer came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    trouble: str | None = None


class Transport:
    """Connections to one OpenAI-compatible endpoint; an async context manager.

    api_key: the secret that names the account, the key or the extra header in its place. base_url: as the
    user wrote it; it may hold secrets. Raises SettingsError when there is no key, or where the key, a header
    or the base URL is invalid.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import openai

        headers = read_extra_headers(endpoint.extra_headers)
        given = sorted(AUTHENTICATION_HEADERS & headers.keys())
        self.api_key = headers[given[0]] if given else _checked_key(endpoint.api_key)
        # The client would take an empty OPENAI_BASE_URL, as a .env file leaves it, for an address.
        self.base_url = endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        self._address = address = read_address(self.base_url)
        if not given and address.authorization:
            headers["authorization"] = address.authorization
        secrets = {self.api_key, *address.secrets, *headers.values()}
        secrets |= {secret.partition(" ")[2] for secret in secrets}  # of "Bearer …"
        self._secrets = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._query = f"?{address.query}" if address.query else ""
        self._timeout_seconds = endpoint.timeout_seconds
        # It logs whole addresses at level INFO, keys in their queries included.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        # An extra header takes the place of the key's own, whatever its name.
        self._headers: dict[str, str | openai.Omit] = {"Authorization": openai.omit} if given else {}
        self._headers |= {name.title(): value for name, value in headers.items()}
        self._openai = openai.AsyncOpenAI(
            api_key=self.api_key,
            base_url=address.url,
            max_retries=0,
            timeout=None,  # ours alone: theirs starts over with every byte that drips in
            # aiohttp's transport costs a third less CPU than the default one; up to 1,000 connections.
            http_client=openai.DefaultAioHttpClient(),
        )

    @property
    def host(self) -> str:
        """The server's name, for messages."""
        return self._address.host

    def _without_secrets(self, body: bytes) -> bytes:
        """A body in which no part of the key, the address or the extra headers can be read."""
        for secret in self._secrets:
            body = body.replace(secret.encode(), b"[secret]")
        return body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._openai.close()

    async def post(self, path: str, document: bytes) -> Reply:
        """The answer to a JSON document, of any status; what went wrong on the way is ``Reply.trouble``.

        A body that repeats a secret, as errors do, comes without it.
        """
        import httpx2

        # Its typed methods compare every part of the body with their types first, half the CPU of a chat
        # request (benchmarks/cpu.py); ours is ready as it is.
        response = self._openai.post(
            path + self._query,
            cast_to=httpx2.Response,
            content=document,
            options={"headers": self._headers},
        )
        return await self._reply(response, self._timeout_seconds)

    async def get(self, path: str, timeout_seconds: float) -> Reply:
        """As post, without a document and with a time-out of its own."""
        import httpx2

        response = self._openai.get(
            path + self._query, cast_to=httpx2.Response, options={"headers": self._headers}
        )
        return await self._reply(response, timeout_seconds)

    async def _reply(self, response: "Awaitable[httpx2.Response]", timeout_seconds: float) -> Reply:
        import aiohttp
        import httpx2
        import openai

        try:
            async with asyncio.timeout(timeout_seconds):
                whole = await response
            return Reply(whole.status_code, whole.headers, self._without_secrets(whole.content))
        except openai.APIStatusError as error:
            body = self._without_secrets(error.response.content)
            return Reply(error.status_code, error.response.headers, body)
        except TimeoutError:
            trouble = f"no whole answer within {timeout_seconds:g} s"
        except (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            trouble = f"a broken connection ({_root_cause(error)})"
        return Reply(0, {}, b"", trouble)


def _checked_key(given: str | None) -> str:
    api_key = (given or os.environ.get("OPENAI_API_KEY", "")).strip()
    if not api_key:
        raise SettingsError(
            "OPENAI_API_KEY is not set. Set it to the key of your OpenAI-compatible endpoint, or put "
            "aboutness-local before the command to run it against the stand-in endpoint, without a key."
        )
    if not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError(
            "OPENAI_API_KEY holds characters that no request can carry (a line break, perhaps, or a dash "
            "that a word processor made): set it to the key alone."
        )
    return api_key


def _root_cause(error: BaseException) -> str:
    """The class name of what first went wrong; the transports wrap each other's errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__

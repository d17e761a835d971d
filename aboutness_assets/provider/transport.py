"""One HTTP request and its answer, carried by the ``openai`` client.

The client retries nothing and parses nothing here, so that a raw answer can be kept before it is read.
``import openai`` takes half a second, so it happens where it is used.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aboutness_assets.domain.errors import SettingsError

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go.

    api_key and base_url: None or '' leave them to the environment (OPENAI_API_KEY, OPENAI_BASE_URL) as the
    ``openai`` client knows it. timeout_seconds: for one HTTP request, from its sending to the last byte of
    the answer.
    """

    api_key: str | None = field(repr=False)
    base_url: str | None
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; status 0 and ``trouble`` (half a sentence) where no whole answer came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    trouble: str | None = None


class Transport:
    """Connections to one OpenAI-compatible endpoint; an async context manager.

    Raises SettingsError when there is no key, an invalid key, or an invalid base URL.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import openai

        self.api_key = _checked_key(endpoint.api_key)
        # The client would take an empty OPENAI_BASE_URL, as a .env file leaves it, for an address.
        self.base_url = endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        self._timeout_seconds = endpoint.timeout_seconds
        self._openai = openai.AsyncOpenAI(
            api_key=self.api_key,
            base_url=self.base_url,
            max_retries=0,
            timeout=None,  # ours alone: theirs starts over with every byte that drips in
            # aiohttp's transport costs a third less CPU than the default one; up to 1,000 connections.
            http_client=openai.DefaultAioHttpClient(),
        )
        if self._openai.base_url.scheme not in ("http", "https") or not self._openai.base_url.host:
            raise SettingsError(
                f"OPENAI_BASE_URL is not the address of a server. Set it to something like {OPENAI_URL}, "
                "or leave it empty for OpenAI itself."
            )

    @property
    def host(self) -> str:
        """The server's name, for messages."""
        return self._openai.base_url.host

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._openai.close()

    async def post(self, path: str, document: bytes) -> Reply:
        """The answer to a JSON document, of any status; what went wrong on the way is ``Reply.trouble``."""
        import aiohttp
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self._timeout_seconds):
                # Its typed methods compare every part of the body with their types first, half the CPU of
                # a chat request (benchmarks/cpu.py); ours is ready as it is.
                response = await self._openai.post(path, cast_to=httpx2.Response, content=document)
            return Reply(response.status_code, response.headers, response.content)
        except openai.APIStatusError as error:
            return Reply(error.status_code, error.response.headers, error.response.content)
        except TimeoutError:
            trouble = f"no whole answer within {self._timeout_seconds:g} s"
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

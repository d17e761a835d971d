"""Posts one JSON document to a webhook. Its URL is a secret: nothing said here repeats it."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

TIMEOUT_SECONDS = 5.0
WAITS_SECONDS = (1.0, 3.0)
"""Between the attempts, of which there is one more."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message. refused: it would be refused again; failed: a later attempt may succeed."""

    outcome: Literal["delivered", "refused", "failed"]
    detail: str = ""


def post_json(url: str, document: dict[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> Delivery:
    """Post it; tried again on network errors, HTTP 429 and 5xx. A redirect counts as refused.

    url: http or https, as the settings demand. Raises nothing.
    """
    delivery = _attempt(url, document)
    for seconds in WAITS_SECONDS:
        if delivery.outcome != "failed":
            break
        sleep(seconds)
        delivery = _attempt(url, document)
    return delivery


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _attempt(url: str, document: dict[str, Any]) -> Delivery:
    request = urllib.request.Request(  # noqa: S310 - the settings refuse other schemes
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS):
            return Delivery("delivered")
    except urllib.error.HTTPError as answer:
        answer.close()
        may_pass = answer.code == HTTPStatus.TOO_MANY_REQUESTS or answer.code >= 500
        return Delivery("failed" if may_pass else "refused", f"HTTP {answer.code}")
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        words = reason.strerror if isinstance(reason, OSError) else None
        return Delivery("failed", words or type(reason).__name__)
    except ValueError as error:  # a URL that the standard library cannot use
        return Delivery("refused", type(error).__name__)

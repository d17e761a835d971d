"""What an endpoint was seen not to take of a chat request; each optional part is left out by itself."""

import logging
import re
from typing import Any

JSON_OBJECT_FORMAT = {"type": "json_object"}
"""For endpoints that refuse a json_schema; the prompt says the form in words."""

LENGTH_LIMITS = ("max_completion_tokens", "max_tokens")
"""Names under which endpoints take the limit of an answer's length, the current one first."""

_RESPONSE_FORMAT = re.compile(r"response_?format|json_?schema", re.IGNORECASE)
_REASONING_EFFORT = re.compile(r"reasoning[_.]?effort", re.IGNORECASE)
_SERVICE_TIER = re.compile(r"service[_ ]?tier|\bflex\b", re.IGNORECASE)
_LENGTH_LIMIT = re.compile(r"max_(?:completion_|output_)?tokens", re.IGNORECASE)


class Capabilities:
    """The optional parts that one endpoint and model takes, as its refusals tell."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._refuses_json_schema = False
        self._refuses_reasoning_effort = False
        self._length_limits = list(LENGTH_LIMITS)

    def adapt(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request as the endpoint takes it. body: all of it, its length limit under the first name."""
        adapted = dict(body)
        if self._refuses_json_schema:
            adapted["response_format"] = JSON_OBJECT_FORMAT
        if self._refuses_reasoning_effort:
            adapted.pop("reasoning_effort", None)
        limit = adapted.pop(LENGTH_LIMITS[0], None)
        if limit is not None and self._length_limits:
            adapted[self._length_limits[0]] = limit
        return adapted

    def disable_unsupported_parameter(self, refusal: str, body: dict[str, Any]) -> bool:
        """Stop sending what the endpoint has just refused of ``body``, in its words ``refusal``.

        False where the refusal is about something else. A request that was under way meanwhile and meets the
        same refusal is simply sent again.
        """
        if _RESPONSE_FORMAT.search(refusal) and body["response_format"].get("type") == "json_schema":
            if not self._refuses_json_schema:
                self._log.warning("The endpoint refuses json_schema; from now on a json_object is asked for.")
            self._refuses_json_schema = True
            return True
        if _REASONING_EFFORT.search(refusal) and "reasoning_effort" in body:
            if not self._refuses_reasoning_effort:
                self._log.warning(
                    "The endpoint refuses reasoning_effort %r; from now on it is not sent.",
                    body["reasoning_effort"],
                )
            self._refuses_reasoning_effort = True
            return True
        sent = next((name for name in LENGTH_LIMITS if name in body), None)
        if sent is not None and _LENGTH_LIMIT.search(refusal):
            if sent in self._length_limits:
                self._length_limits.remove(sent)
                self._log.warning(
                    "The endpoint refuses %s; from now on %s.",
                    sent,
                    f"{self._length_limits[0]} is sent instead"
                    if self._length_limits
                    else "answers have no limit, so what a request can cost at most is an estimate",
                )
            return True
        return False

    @staticmethod
    def refuses_tier(refusal: str, body: dict[str, Any]) -> bool:
        """Whether the endpoint refuses the service tier that was asked for."""
        return "service_tier" in body and _SERVICE_TIER.search(refusal) is not None

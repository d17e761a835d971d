"""What an endpoint was seen not to take of a chat request; each optional part is left out by itself."""

import logging
import re
from typing import Any

JSON_OBJECT_FORMAT = {"type": "json_object"}
"""For endpoints that refuse a json_schema; the prompt says the form in words."""

_RESPONSE_FORMAT = re.compile(r"response_?format|json_?schema", re.IGNORECASE)
_REASONING_EFFORT = re.compile(r"reasoning[_.]?effort", re.IGNORECASE)


class Capabilities:
    """The optional parts that one endpoint and model takes, as its refusals tell."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._refuses_json_schema = False
        self._refuses_reasoning_effort = False

    def adapt(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request without what the endpoint refuses."""
        adapted = dict(body)
        if self._refuses_json_schema:
            adapted["response_format"] = JSON_OBJECT_FORMAT
        if self._refuses_reasoning_effort:
            adapted.pop("reasoning_effort", None)
        return adapted

    def disable_unsupported_parameter(self, refusal: str, body: dict[str, Any]) -> bool:
        """Stop sending what the endpoint has just refused of ``body``, in its words ``refusal``.

        False where the refusal is about something else.
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
        return False

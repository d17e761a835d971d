"""Endpoints of no name: shapes, statuses and words of nobody in particular, thought up for these tests."""

from typing import Any

from tests.endpoints.case import (
    UNWELCOME,
    Case,
    FailsAlone,
    Fills,
    Provider,
    Request,
    Rule,
    Stops,
    after,
    carries,
    changed,
    chat,
    either,
    embeddings,
    error,
    first,
    html,
    json_schema,
    message_changed,
    system_message,
    texts_above,
    unwelcome,
)
from tests.support.scripted_endpoint import Answer

_DRAFT = '{"songs": {"1": {"emotions_text": "a draft", "emotions_confidence": "low"}}}'


def _in_an_array(status: int, message: str) -> Answer:
    return error(status, [{"error": {"code": status, "message": message}}])


def _parts(message: dict[str, Any]) -> None:
    middle = len(message["content"]) // 2
    message["content"] = [
        {"type": "reasoning", "text": _DRAFT},
        {"type": "text", "text": message["content"][:middle]},
        {"type": "text", "text": message["content"][middle:]},
    ]


def _nested_thoughts(message: dict[str, Any]) -> None:
    message["content"] = f"<thinking>{_DRAFT}</thinking>\n<think>{_DRAFT * 50}</think>{message['content']}"


def _two_documents(message: dict[str, Any]) -> None:
    message["content"] = f"Draft:\n```json\n{_DRAFT}\n```\nFinal:\n```json\n{message['content']}\n```"


def _reasoning_in_parts(message: dict[str, Any]) -> None:
    message.update(content="", reasoning=[{"type": "reasoning.text", "text": message["content"]}])


def _texts_as_indexes(body: dict[str, Any]) -> None:
    body["data"] = [{**item, "index": str(item["index"])} for item in reversed(body["data"])]


def _without_zero(body: dict[str, Any]) -> None:
    for item in body["data"]:
        if item["index"] == 0:
            del item["index"]


def _contradicting(body: dict[str, Any]) -> None:
    for item in body["data"]:
        item["index"] //= 2


def _numbered_from_one(body: dict[str, Any]) -> None:
    for item in body["data"]:
        item["index"] += 1


def _many_unwelcome(request: Request) -> bool:
    return chat(request) and UNWELCOME in request.songs


OTHER = Provider(
    "Any other endpoint",
    "",
    (
        Case(
            "takes neither a schema nor a system message, and names neither (422, then 500)",
            "",
            (
                Rule(json_schema, error(422, {"detail": "unprocessable"})),
                Rule(system_message, error(500, {"error": "template error"})),
            ),
            Fills(more_requests=30),
        ),
        Case(
            "takes no optional part at all and says nothing (400 without a body)",
            "",
            (
                Rule(
                    either(
                        carries("response_format"),
                        carries("reasoning_effort"),
                        carries("max_completion_tokens"),
                        carries("max_tokens"),
                        system_message,
                    ),
                    Answer(b"", 400),
                ),
            ),
            Fills(more_requests=24),
        ),
        Case(
            "has not implemented what it is asked for (501 with a text)",
            "",
            (Rule(carries("reasoning_effort"), Answer(b"Not Implemented", 501)),),
            Fills(more_requests=24),
        ),
        Case(
            "does not take the type of content that a schema makes of a request (415)",
            "",
            (Rule(json_schema, error(415, {"message": "unsupported"})),),
            Fills(more_requests=8),
        ),
        Case(
            "says in an array that the service is away (503 within HTTP 200)",
            "",
            (Rule(first(2), error(200, [{"error": {"code": 503, "message": "UNAVAILABLE"}}])),),
            Fills(more_requests=2),
        ),
        Case(
            "says in a flat form within HTTP 200 that too much was asked (code 429)",
            "",
            (Rule(first(1), error(200, {"code": 429, "msg": "slow down, please"})),),
            Fills(more_requests=2, warns="slow down, please"),
        ),
        Case(
            "refuses the key within HTTP 200 (code 401)",
            "",
            (Rule(chat, error(200, {"error": {"code": 401, "message": "who are you?"}})),),
            Stops("who are you?"),
        ),
        Case(
            "refuses one title in an array (418)",
            "",
            (Rule(_many_unwelcome, _in_an_array(418, "not with these words")),),
            FailsAlone("not with these words"),
        ),
        Case(
            "refuses one title with a page of HTML (406)",
            "",
            (Rule(unwelcome, html(406, "Not Acceptable", "mod_security")),),
            FailsAlone("406"),
        ),
        Case(
            "is switched off in the middle of a run (403 to everything)",
            "",
            (Rule(after(3), error(403, {"error": {"message": "the project was archived"}})),),
            Stops("the project was archived", requests=60),
            songs=40,
        ),
        Case(
            "refuses everything in the middle of a run, without a word (422)",
            "",
            (Rule(after(3), error(422, {})),),
            Stops("422", requests=60),
            songs=40,
        ),
        Case(
            "has spent what was prepaid (429 in other words)",
            "",
            (Rule(chat, error(429, {"error": {"message": "Your prepaid funds are used up."}})),),
            Stops("prepaid funds are used up"),
        ),
        Case(
            "limits requests a minute and sells more (429 that speaks of billing)",
            "https://docs.voyageai.com/docs/rate-limits",
            (
                Rule(
                    first(1),
                    error(
                        429,
                        {
                            "detail": "Without a payment method on the billing page your rate limits are "
                            "reduced to 3 RPM. Top up to raise them."
                        },
                    ),
                ),
            ),
            Fills(more_requests=2, warns="reduced to 3 RPM"),
        ),
        Case(
            "sends content in parts of which one is a thought with a draft",
            "",
            (Rule(chat, message_changed(_parts)),),
            Fills(),
        ),
        Case(
            "thinks twice and drafts each time",
            "",
            (Rule(chat, message_changed(_nested_thoughts)),),
            Fills(),
        ),
        Case(
            "writes a draft and the answer, each in a fence",
            "",
            (Rule(chat, message_changed(_two_documents)),),
            Fills(),
        ),
        Case(
            "writes the answer into `reasoning`, in parts",
            "",
            (Rule(chat, message_changed(_reasoning_in_parts)),),
            Fills(),
        ),
        Case(
            "numbers its vectors in text and sends them in another order",
            "",
            (Rule(embeddings, changed(_texts_as_indexes)),),
            Fills(),
        ),
        Case(
            "leaves an index of 0 out",
            "",
            (Rule(embeddings, changed(_without_zero)),),
            Fills(),
        ),
        Case(
            "numbers two vectors the same",
            "",
            (Rule(embeddings, changed(_contradicting)),),
            Fills(more_requests=30),
        ),
        Case(
            "numbers its vectors from 1",
            "",
            (Rule(embeddings, changed(_numbered_from_one)),),
            Fills(more_requests=30),
        ),
        Case(
            "takes 5 texts in one embedding request (500 with a text)",
            "",
            (Rule(texts_above(5), Answer(b"internal error", 500)),),
            Fills(more_requests=24),
        ),
    ),
)

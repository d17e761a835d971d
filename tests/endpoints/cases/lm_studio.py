"""LM Studio, on the user's own machine."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Request,
    Rule,
    Stops,
    carries,
    changed,
    chat,
    embeddings,
    error,
    openai_error,
)
from tests.support.scripted_endpoint import Answer


def _indexes(index: Any) -> Any:
    def change(body: dict[str, Any]) -> None:
        for position, item in enumerate(body["data"]):
            item["index"] = index(position)

    return changed(change)


def _as_floats(request: Request, body: dict[str, Any]) -> Answer:
    from aboutness_local.exchange import decoded

    for item in body["data"]:
        item["embedding"] = decoded(item["embedding"]).tolist()
    return error(200, body)


def _no_usage(body: dict[str, Any]) -> None:
    body["usage"] = {"prompt_tokens": 0, "total_tokens": 0}


LM_STUDIO = Provider(
    "LM Studio",
    "http://localhost:1234/v1",
    (
        Case(
            "takes no `response_format` but `text` (400 with a flat text)",
            "https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/189",
            (
                Rule(
                    carries("response_format"),
                    error(400, {"error": "'response_format.type' must be 'text'"}),
                ),
            ),
            Fills(more_requests=12),
        ),
        Case(
            "sends numbers although base64 is asked for",
            "https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/756",
            (Rule(embeddings, _as_floats),),
            Fills(),
        ),
        Case(
            "counts no tokens of embeddings (`usage` of 0)",
            "https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1546",
            (Rule(embeddings, changed(_no_usage)),),
            Fills(),
        ),
        Case(
            "has loaded no model (404)",
            "https://lmstudio.ai/docs/developer",
            (
                Rule(
                    chat,
                    openai_error(404, "No models loaded. Please load a model.", code="model_not_found"),
                ),
            ),
            Stops("No models loaded"),
        ),
        Case(
            "numbers its vectors in text",
            "https://lmstudio.ai/docs/app/api/endpoints/openai",
            (Rule(embeddings, _indexes(str)),),
            Fills(),
        ),
    ),
)

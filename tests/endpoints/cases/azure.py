"""Azure OpenAI: a header of its own for the key, a query in the address, and a content filter."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Request,
    Rule,
    Stops,
    always,
    carries,
    changed,
    chat,
    error,
    first,
    json_schema,
    openai_error,
    texts_above,
    unless,
    unwelcome,
)

REFERENCE = "https://learn.microsoft.com/azure/ai-foundry/openai/reference"
CONTENT_FILTER = "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter"
FILTERED = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": True, "severity": "medium"},
}


def _has_api_version(request: Request) -> bool:
    return "api-version=" in request.target


def _has_api_key(request: Request) -> bool:
    return request.headers.get("api-key") == "azure-key"


AZURE = Provider(
    "Azure OpenAI",
    "https://NAME.openai.azure.com/openai/v1?api-version=preview",
    (
        Case(
            "wants `?api-version=` at every address and the key in a header `api-key`",
            REFERENCE,
            (
                Rule(
                    unless(_has_api_version),
                    error(404, {"error": {"code": "404", "message": "Resource not found"}}),
                ),
                Rule(
                    unless(_has_api_key),
                    error(
                        401,
                        {
                            "error": {
                                "code": "401",
                                "message": "Access denied due to an invalid key or a wrong address.",
                            }
                        },
                    ),
                ),
            ),
            Fills(),
            path="/openai/v1?api-version=preview",
            settings={"extra_headers": '{"api-key": "azure-key"}'},
        ),
        Case(
            "filters the prompt about one title (400 `content_filter` with an `innererror`)",
            CONTENT_FILTER,
            (
                Rule(
                    unwelcome,
                    error(
                        400,
                        {
                            "error": {
                                "message": "The prompt triggered the content management policy. Please "
                                "modify your prompt and retry.",
                                "type": None,
                                "param": "prompt",
                                "code": "content_filter",
                                "status": 400,
                                "innererror": {
                                    "code": "ResponsibleAIPolicyViolation",
                                    "content_filter_result": FILTERED,
                                },
                            }
                        },
                    ),
                ),
            ),
            FailsAlone("content management policy", ("content_filter",)),
        ),
        Case(
            "filters the answer about one title (`finish_reason: content_filter` without content)",
            CONTENT_FILTER,
            (
                Rule(
                    unwelcome,
                    changed(
                        lambda body: body["choices"][0].update(
                            finish_reason="content_filter",
                            message={"role": "assistant"},
                            content_filter_results=FILTERED,
                        )
                    ),
                ),
            ),
            FailsAlone("content filter", ("content_filter",)),
        ),
        Case(
            "reaches its token rate limit (429 with `retry-after`)",
            "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota",
            (
                Rule(
                    first(1),
                    error(
                        429,
                        {
                            "error": {
                                "code": "429",
                                "message": "Requests to the ChatCompletions_Create Operation have "
                                "exceeded the token rate limit of your current pricing tier.",
                            }
                        },
                        retry_after="1",
                    ),
                ),
            ),
            Fills(more_requests=3, warns="token rate limit of your current pricing tier"),
        ),
        Case(
            "does not know the deployment (404 `DeploymentNotFound`)",
            REFERENCE,
            (
                Rule(
                    chat,
                    error(
                        404,
                        {
                            "error": {
                                "code": "DeploymentNotFound",
                                "message": "The API deployment for this resource does not exist. If you "
                                "created it within the last 5 minutes, wait a moment and try again.",
                            }
                        },
                    ),
                ),
            ),
            Stops("The API deployment for this resource does not exist"),
        ),
        Case(
            "takes `json_schema` with newer API versions only",
            "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/structured-outputs",
            (
                Rule(
                    json_schema,
                    error(
                        400,
                        {
                            "error": {
                                "code": "BadRequest",
                                "message": "This kind of output is enabled only for api versions "
                                "2024-08-01-preview and later",
                            }
                        },
                    ),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "does not know `reasoning_effort`",
            "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning",
            (
                Rule(
                    carries("reasoning_effort"),
                    openai_error(400, "Unrecognized request argument supplied: reasoning_effort"),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "lets nobody in from this network (403)",
            "https://learn.microsoft.com/azure/ai-services/cognitive-services-virtual-networks",
            (
                Rule(
                    always,
                    error(
                        403,
                        {
                            "error": {
                                "code": "403",
                                "message": "Access denied due to Virtual Network/Firewall rules.",
                            }
                        },
                    ),
                ),
            ),
            Stops("Virtual Network/Firewall rules"),
        ),
        Case(
            "takes 16 texts in one embedding request",
            "https://github.com/langchain-ai/langchain/pull/19532",
            (Rule(texts_above(16), openai_error(400, "Too many inputs. The max number of inputs is 16.")),),
            Fills(more_requests=4),
        ),
    ),
    notes='Set `ABOUTNESS_EXTRA_HEADERS` to `{"api-key": "…"}`. Model names are those of the deployments.',
)

"""What GET /models tells of an endpoint and its models, over real HTTP."""

from datetime import date
from typing import Any

import pytest

from aboutness_assets.domain.findings import Finding
from aboutness_assets.provider.models import endpoint_findings
from aboutness_assets.provider.services import chat_service, embedding_service
from aboutness_assets.provider.transport import Endpoint, Transport
from tests.support.provider_clients import KEY
from tests.support.scripted_endpoint import Answer, Reset, Scripted, ScriptedEndpoint, answer_json, error

TODAY = date(2026, 11, 25)


async def found(endpoint: ScriptedEndpoint, answer: Scripted) -> list[Finding]:
    endpoint.otherwise = answer
    async with Transport(Endpoint(KEY, endpoint.base_url, 60)) as transport:
        services = [chat_service("writer"), embedding_service("embedder")]
        return await endpoint_findings(transport, services, TODAY)


def models(**shutdown_dates: Any) -> Answer:
    return answer_json(
        {"data": [{"id": name, "shutdown_date": value} for name, value in shutdown_dates.items()]}
    )


async def test_listed_models_pass_and_only_the_list_is_asked_for(endpoint: ScriptedEndpoint) -> None:
    findings = await found(endpoint, models(writer=None, embedder=None, another=None))

    assert [(finding.check, finding.outcome) for finding in findings] == [
        ("endpoint", "pass"),
        ("chat model", "pass"),
        ("embedding model", "pass"),
    ]
    assert findings[0].found.endswith("answers and lists 3 models")
    assert [request.path for request in endpoint.requests] == ["/models"]


@pytest.mark.parametrize(
    ("shutdown", "outcome", "words"),
    [
        ("2026-11-25", "fail", "writer was shut down on 2026-11-25"),
        ("2020-01-01T00:00:00Z", "fail", "was shut down on 2020-01-01"),
        (1_765_411_200, "fail", "was shut down on 2025-12-11"),
        ("2026-12-11", "warn", "will be shut down on 2026-12-11"),
        ("2027-01-14", "pass", "will be shut down on 2027-01-14"),
        ("soon", "pass", "writer is listed"),
        (10**30, "pass", "writer is listed"),
    ],
)
async def test_a_models_shutdown(
    endpoint: ScriptedEndpoint, shutdown: object, outcome: str, words: str
) -> None:
    findings = await found(endpoint, models(writer=shutdown, embedder=None))

    assert findings[1].outcome == outcome
    assert words in findings[1].found
    assert (findings[1].what_to_do == "") == (outcome == "pass")


async def test_a_model_that_is_not_listed_may_be_an_alias(endpoint: ScriptedEndpoint) -> None:
    listed = answer_json({"data": [{"id": "vendor/writer"}, {"id": "something-else"}, "nonsense", {}]})

    _, chat, embedding = await found(endpoint, listed)

    assert (chat.outcome, embedding.outcome) == ("pass", "warn")
    assert "ABOUTNESS_EMBEDDING_MODEL" in embedding.what_to_do


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (Reset(), "fail", "gives no answer: a broken connection"),
        (error(401, f"Incorrect API key provided: {KEY}"), "fail", "answers HTTP 401 to GET /models"),
        (error(429, "You exceeded your quota", code="insufficient_quota"), "fail", "HTTP 429"),
        (error(403, "Missing scopes: api.model.read"), "warn", "Missing scopes"),
        (error(503, "Try again later"), "warn", "HTTP 503"),
        (error(404, "Not found"), "pass", "offers no list of its models"),
        (error(405, "Not allowed"), "pass", "offers no list of its models"),
        (Answer(b"<html>Welcome</html>"), "pass", "offers no list of its models"),
        (answer_json({"data": None}), "pass", "offers no list of its models"),
    ],
)
async def test_an_endpoint_without_a_list(
    endpoint: ScriptedEndpoint, answer: Scripted, outcome: str, words: str
) -> None:
    [finding] = await found(endpoint, answer)

    assert (finding.check, finding.outcome) == ("endpoint", outcome)
    assert words in finding.found
    assert KEY not in str(finding)

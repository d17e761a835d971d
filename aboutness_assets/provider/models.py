"""Whether the endpoint can be reached and serves the models, from GET /models, which asks for no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from aboutness_assets.domain.errors import UnparsableAnswer
from aboutness_assets.domain.findings import Finding
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.provider.provider_error import ProviderError
from aboutness_assets.provider.refusals import is_about_money
from aboutness_assets.provider.services import Service
from aboutness_assets.provider.transport import Reply, Transport
from aboutness_assets.provider.wire import as_dict, parse_object

TIMEOUT_SECONDS = 15.0

SHUTDOWN_NEAR = timedelta(days=30)
"""How long before its shutdown a model is warned about."""


async def endpoint_findings(transport: Transport, services: Sequence[Service], today: date) -> list[Finding]:
    """One line for the endpoint, and one per model where the endpoint lists its models.

    Many endpoints offer no list: that is no failure, as the list is not needed.
    """
    reply = await transport.get("/models", TIMEOUT_SECONDS)
    host = transport.host
    if reply.trouble is not None:
        what_to_do = "Check OPENAI_BASE_URL, and that this machine may reach it."
        return [Finding("endpoint", f"{host} gives no answer: {reply.trouble}", "fail", what_to_do)]
    if reply.status >= 400:
        return [_refused(reply, host, transport.api_key)]
    models = _listed(reply.body)
    if models is None:
        return [Finding("endpoint", f"{host} answers; it offers no list of its models")]
    return [
        Finding("endpoint", f"{host} answers and lists {len(models):,} models"),
        *(_model(service, models, today) for service in services),
    ]


def _refused(reply: Reply, host: str, api_key: str) -> Finding:
    error = ProviderError.read(reply.body, api_key)
    said = f"{host} answers HTTP {reply.status} to GET /models: {error.message}"
    if is_about_money(error) or reply.status == 402:
        return Finding("endpoint", said, "fail", "Add credit to the provider's account.")
    if reply.status == 401:
        return Finding(
            "endpoint", said, "fail", "Check OPENAI_API_KEY, and that it belongs to OPENAI_BASE_URL."
        )
    if reply.status in (400, 404, 405, 501):
        return Finding("endpoint", f"{host} answers; it offers no list of its models")
    return Finding("endpoint", said, "warn", "It answers; whether it serves the models, the smoke run tells.")


def _listed(body: bytes) -> dict[str, date | None] | None:
    """The date of shutdown, where told, by the model's id; None where the body is no list of models."""
    try:
        data = parse_object(body).get("data")
    except UnparsableAnswer:
        return None
    if not isinstance(data, list):
        return None
    entries = [as_dict(entry) for entry in data]
    return {str(entry["id"]): _date(entry.get("shutdown_date")) for entry in entries if "id" in entry}


def _date(value: object) -> date | None:
    """A date from ISO text or from seconds since 1970; None for anything else."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).date()
        return datetime.fromisoformat(value).date() if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def _model(service: Service, models: Mapping[str, date | None], today: date) -> Finding:
    check, name = f"{service.kind} model", printable_line(service.model)
    # Gateways put the provider's name before a model's.
    listed = next(
        (each for each in models if each == service.model or each.endswith(f"/{service.model}")), None
    )
    if listed is None:
        return Finding(
            check,
            f"{name} is not in the endpoint's list of models",
            "warn",
            f"Check {service.model_setting}; an alias need not be listed.",
        )
    shutdown = models[listed]
    if shutdown is None:
        return Finding(check, f"{name} is listed")
    if shutdown <= today:
        return Finding(
            check,
            f"{name} was shut down on {shutdown}",
            "fail",
            f"Set {service.model_setting} to its successor.",
        )
    return Finding(
        check,
        f"{name} is listed, and will be shut down on {shutdown}",
        "warn" if shutdown - today <= SHUTDOWN_NEAR else "pass",
        f"Finish before, or set {service.model_setting} to its successor."
        if shutdown - today <= SHUTDOWN_NEAR
        else "",
    )

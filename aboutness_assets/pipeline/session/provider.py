"""The provider, its limits and its prices, as the settings have them."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

from aboutness_assets.domain.findings import Finding
from aboutness_assets.domain.id_ranges import USUAL_RANGE_SIZE
from aboutness_assets.limits.store import rate_limit_name
from aboutness_assets.money import prices
from aboutness_assets.money.estimate import RateLimits
from aboutness_assets.money.tariff import Tariff
from aboutness_assets.pipeline.terms import Terms
from aboutness_assets.provider.capability_store import endpoint_name
from aboutness_assets.provider.models import endpoint_findings
from aboutness_assets.provider.services import Service, chat_service, embedding_service
from aboutness_assets.provider.transport import Endpoint, Transport
from aboutness_assets.settings import Settings


def open_transport(settings: Settings) -> Transport:
    """Connections to the provider. Raises SettingsError."""
    api_key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    headers = settings.extra_headers.get_secret_value() if settings.extra_headers else None
    return Transport(Endpoint(api_key, settings.openai_base_url, settings.timeout_in_force, headers))


def limit_name_of(service: Service, transport: Transport) -> str:
    """Names what requests of this service share a limit with."""
    return rate_limit_name(service.kind, endpoint_name(transport.base_url), service.model, transport.api_key)


def tariff_of(settings: Settings, base_url: str) -> Tariff:
    """What a run pays. Raises SettingsError where a price is malformed."""
    return Tariff(
        prices.chat_price(settings.chat_model, settings.chat_price, base_url=base_url),
        prices.embedding_price(settings.embedding_model, settings.embedding_price, base_url=base_url),
        settings.tier,
        names_standard_tier=service_tier_of(settings, base_url) == "default",
    )


def service_tier_of(settings: Settings, base_url: str) -> str:
    """What is sent as service_tier, '' for nothing.

    OpenAI takes a request that names none for the project's own setting, which may be priority at double
    price; other endpoints may not know the parameter.
    """
    if settings.tier == "standard":
        return "default" if (urlsplit(base_url).hostname or "").endswith("api.openai.com") else ""
    return settings.tier


async def read_terms(settings: Settings) -> Terms:
    """What a run pays, and how fast it may be; nothing is sent.

    Raises SettingsError where the key, the base URL or a price is missing or malformed.
    """
    async with open_transport(settings) as transport:
        return Terms(
            transport.host,
            settings.chat_model,
            settings.reasoning_effort,
            settings.embedding_model,
            tariff_of(settings, transport.base_url),
            settings.budget,
            settings.max_usd,
            settings.range_size or USUAL_RANGE_SIZE,
            RateLimits(settings.requests_per_minute, settings.tokens_per_minute),
            limit_name_of(chat_service(settings.chat_model), transport),
        )


async def endpoint_lines(settings: Settings) -> list[Finding]:
    """Whether the endpoint answers and serves both models, by a request for its list of models alone.

    Raises SettingsError where the key or the base URL is missing or malformed.
    """
    services = (chat_service(settings.chat_model), embedding_service(settings.embedding_model))
    async with open_transport(settings) as transport:
        return await endpoint_findings(transport, services, datetime.now(UTC).date())

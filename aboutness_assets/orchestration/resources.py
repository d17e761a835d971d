"""The settings as a Dagster resource: what the launchpad may override for one run.

Only what is safe to change is offered. Addresses, keys, databases and the songs query come from the
environment alone: whoever can open the UI must not be able to send a key or a query elsewhere.
"""

from typing import Any

import dagster as dg
from annotated_types import Ge, Gt, Le
from pydantic import Field

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.settings import Settings, load_settings


def _override(name: str) -> Any:
    """An optional field for one setting; settings.py alone declares its meaning, bounds and default."""
    setting = Settings.model_fields[name]
    words = {Ge: "at least {0.ge}", Gt: "more than {0.gt}", Le: "at most {0.le}"}
    bounds = [words[type(bound)].format(bound) for bound in setting.metadata if type(bound) in words]
    description = f"{setting.description} If not set here: {setting.alias}, or else its default."
    if bounds:
        description += f" Bounds: {', '.join(bounds)}."
    return Field(default=None, description=description)


class SettingsResource(dg.ConfigurableResource[Any]):
    """Settings that may be changed for one run. All others come from the environment alone."""

    chat_model: str | None = _override("chat_model")
    reasoning_effort: str | None = _override("reasoning_effort")
    embedding_model: str | None = _override("embedding_model")
    pack_size: int | None = _override("pack_size")
    max_in_flight: int | None = _override("max_in_flight")
    requests_per_minute: int | None = _override("requests_per_minute")
    tokens_per_minute: int | None = _override("tokens_per_minute")
    max_usd: float | None = _override("max_usd")
    budget: str | None = _override("budget")
    tier: str | None = _override("tier")
    chat_price: str | None = _override("chat_price")
    embedding_price: str | None = _override("embedding_price")
    rate_limit_waits: str | None = _override("rate_limit_waits")
    request_timeout: float | None = _override("request_timeout")
    give_up_after: float | None = _override("give_up_after")

    def load(self) -> Settings:
        """The settings in force. Raises Failure with one sentence per malformed setting."""
        overrides = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return load_settings(**overrides)
        except SettingsError as malformed:
            raise dg.Failure(str(malformed), allow_retries=False) from malformed

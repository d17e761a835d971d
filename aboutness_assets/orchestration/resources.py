"""The settings as a Dagster resource: what the launchpad may override for one run.

Only what is safe to change is offered. Addresses, keys, databases and the songs query come from the
environment alone: whoever can open the UI must not be able to send a key or a query elsewhere.
"""

import os
from typing import Any

import dagster as dg
from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import Field

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.launchpad_types import OptionalNumber, OptionalText, looks_secret
from aboutness_assets.settings import Settings, load_settings

_BOUNDS = {
    Ge: "at least {0.ge}",
    Gt: "more than {0.gt}",
    Le: "at most {0.le}",
    MaxLen: "at most {0.max_length} characters",
}


def _override(name: str) -> Any:
    """An optional field for one setting; settings.py alone declares its meaning, bounds and default."""
    setting = Settings.model_fields[name]
    bounds = [_BOUNDS[type(bound)].format(bound) for bound in setting.metadata if type(bound) in _BOUNDS]
    default, given = _as_text(setting.default), os.environ.get(str(setting.alias))
    description = f"{setting.description} Default: {default}."
    if given and given != default:
        shown = "not shown, as it looks secret" if looks_secret(given) else given
        description += f" In force unless set here: {shown} ({setting.alias})."
    if bounds:
        description += f" Bounds: {', '.join(bounds)}."
    return Field(default=None, description=description)


def _as_text(default: Any) -> str:
    """A setting's default as it would be written."""
    if isinstance(default, tuple):
        return ",".join(f"{part:g}" for part in default)
    return "empty" if default is None else str(default)


class SettingsResource(dg.ConfigurableResource[Any]):
    """Settings that may be changed for one run. All others come from the environment alone."""

    chat_model: OptionalText = _override("chat_model")
    reasoning_effort: OptionalText = _override("reasoning_effort")
    embedding_model: OptionalText = _override("embedding_model")
    pack_size: OptionalNumber = _override("pack_size")
    max_in_flight: OptionalNumber = _override("max_in_flight")
    requests_per_minute: OptionalNumber = _override("requests_per_minute")
    tokens_per_minute: OptionalNumber = _override("tokens_per_minute")
    max_usd: float | None = _override("max_usd")
    budget: OptionalText = _override("budget")
    tier: OptionalText = _override("tier")
    chat_price: OptionalText = _override("chat_price")
    embedding_price: OptionalText = _override("embedding_price")
    rate_limit_waits: OptionalText = _override("rate_limit_waits")
    request_timeout: float | None = _override("request_timeout")
    give_up_after: float | None = _override("give_up_after")

    def load(self) -> Settings:
        """The settings in force. Raises Failure with one sentence per malformed setting."""
        overrides = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return load_settings(**overrides)
        except SettingsError as malformed:
            raise dg.Failure(str(malformed), allow_retries=False) from malformed

"""The settings as one typed Dagster resource, so that the launchpad can override them for a run."""

from typing import Any

import dagster as dg
from pydantic import Field, SecretStr, create_model
from pydantic.fields import FieldInfo

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.settings import Settings, load_settings


class SettingsResource(dg.ConfigurableResource[Any]):
    """Settings for this run. What is left empty comes from the environment, else from its default."""

    def load(self) -> Settings:
        """The settings in force. Raises Failure with one sentence for every setting that is malformed."""
        try:
            return load_settings(**{name: getattr(self, name) for name in type(self).model_fields})
        except SettingsError as malformed:
            raise dg.Failure(str(malformed), allow_retries=False) from None


def settings_resource(**overrides: Any) -> SettingsResource:
    """The resource with one optional field for every setting, so that none is declared twice."""
    fields: Any = {name: _optional(field) for name, field in Settings.model_fields.items()}
    described = create_model(
        "DescribedSettings", __base__=SettingsResource, __doc__=SettingsResource.__doc__, **fields
    )
    return described(**overrides)


def _optional(field: FieldInfo) -> tuple[Any, Any]:
    kind: Any = str
    if field.annotation in (int, float):
        kind = field.annotation
    elif field.annotation == float | None:
        kind = float
    secret = field.annotation == SecretStr | None
    hint = ' Write it as {"env": "NAME"}, never the secret itself.' if secret else ""
    description = f"{field.description} Left empty: {field.alias}, else its default.{hint}"
    return kind | None, Field(default=None, description=description)

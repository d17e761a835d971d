"""Dagster's own storage, in the Postgres of DAGSTER_PG_URL; dagster.yaml names the class."""

import os
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from aboutness_assets.database.url import operations_conninfo
from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.settings import NOT_SET


class PostgresStorage(DagsterPostgresStorage):
    """dagster-postgres, with an error that says what to do when the setting is missing or malformed."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """One field: the name of the environment variable that holds the URL."""
        return {"url_from": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage. Raises SettingsError when the variable is not set or is not the URL of a Postgres."""
        name = config_value["url_from"]
        url = os.environ.get(name, "").strip().strip("\"'")
        if not url:
            raise SettingsError(NOT_SET.format(name=name, what="a Postgres of our own"))
        # SQLAlchemy's error would quote a part of a malformed URL, possibly of the password.
        operations_conninfo(url)
        # Many hosts' URLs begin with postgres://, which SQLAlchemy no longer accepts.
        return cls(url.replace("postgres://", "postgresql://", 1), inst_data=inst_data)

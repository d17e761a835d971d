"""Dagster's own storage, in the Postgres of DAGSTER_PG_URL; dagster.yaml names the class."""

import os
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from aboutness_assets.database.url import operations_conninfo
from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.settings import NOT_SET


class PostgresStorage(DagsterPostgresStorage):
    """dagster-postgres, but where the setting is missing it says what to do."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """One field: the name of the environment variable that holds the URL."""
        return {"url_from": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage. Raises SettingsError when the variable is not set, or holds no URL of a Postgres."""
        name = config_value["url_from"]
        url = os.environ.get(name, "").strip().strip("\"'")
        if not url:
            raise SettingsError(NOT_SET.format(name=name, what="a Postgres of our own"))
        # SQLAlchemy would show a piece of a URL that it cannot read, which may be the password's.
        operations_conninfo(url)
        # SQLAlchemy knows the scheme of many hosts' URLs, postgres://, no longer.
        return cls(url.replace("postgres://", "postgresql://", 1), inst_data=inst_data)

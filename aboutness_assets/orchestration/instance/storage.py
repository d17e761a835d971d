"""Dagster's own storage, in the Postgres of DAGSTER_PG_URL; dagster.yaml names the class."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import sqlalchemy
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from aboutness_assets.database.operations.connection import RETRY_SECONDS
from aboutness_assets.database.pooler import require_sessions
from aboutness_assets.database.postgres_errors import DatabaseError
from aboutness_assets.database.silence import END_WITH_THE_HOST
from aboutness_assets.database.url import operations_conninfo, sqlalchemy_url
from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.instance.publication import EventsInOrder, RunsInOrder
from aboutness_assets.settings import NOT_SET

_SECONDS_BETWEEN_ATTEMPTS = 0.5


class PostgresStorage(DagsterPostgresStorage):
    """dagster-postgres, with an error that says what to do when the setting is missing or malformed.

    Once it was connected it waits for a Postgres that restarts: Dagster itself would do so for seconds.
    """

    def __init__(self, postgres_url: str, *, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._run_storage = RunsInOrder(postgres_url)
        self._event_log_storage = EventsInOrder(postgres_url)
        patience = _Patience()
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            sqlalchemy.event.listen(storage._engine, "do_connect", patience.connect)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """One field: the name of the environment variable that holds the URL."""
        return {"url_from": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage.

        Raises SettingsError when the variable is not set, is not the URL of a Postgres, or leads through a
        transaction pooler.
        """
        name = config_value["url_from"]
        url = os.environ.get(name, "").strip().strip("\"'")
        if not url:
            raise SettingsError(NOT_SET.format(name=name, what="a Postgres of our own"))
        conninfo = operations_conninfo(url)
        with suppress(DatabaseError):  # a Postgres that is away is Dagster's to report
            require_sessions(conninfo)
        return cls(sqlalchemy_url(url), inst_data=inst_data)


class _Patience:
    """Connects, and tries again for RETRY_SECONDS where Postgres was there before."""

    def __init__(self) -> None:
        self._was_connected = False
        self._away_since: float | None = None

    def connect(
        self, dialect: Any, _record: object, arguments: Sequence[Any], parameters: Mapping[str, Any]
    ) -> Any:
        """A connection of the driver; its own error where Postgres stays away."""
        while True:
            try:
                connection = dialect.connect(*arguments, **parameters)
                with connection.cursor() as cursor:
                    cursor.execute(END_WITH_THE_HOST)
                connection.commit()
            except dialect.loaded_dbapi.OperationalError:
                self._away_since = self._away_since or time.monotonic()
                if not self._was_connected or time.monotonic() - self._away_since > RETRY_SECONDS:
                    raise
                time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
            else:
                self._was_connected, self._away_since = True, None
                return connection

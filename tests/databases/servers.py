"""The servers of the cases, each started when the first case asks for it, and the databases on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from aboutness_local.postgres import EmbeddedPostgres
from tests.databases.case import DEBIAN, FAILOVER, SESSION, STANDBY, Case, Pooler
from tests.support.backfills import CatalogueRow, wait_until
from tests.support.clusters import Cluster, Pair, debian_15
from tests.support.pgbouncer import pgbouncer
from tests.support.service_database import PostgresServer, ServiceDatabase, make_service

READ_ONLY = "cannot execute INSERT in a read-only transaction"


@dataclass(frozen=True)
class Reached:
    """The databases of a case, with the URLs that lead to them.

    during_run: what happens to the server once its argument holds.
    """

    service: ServiceDatabase
    during_run: Callable[[Callable[[], bool]], None] | None = None


class Servers:
    """An embedded server that runs, and what else is asked for; ``remove`` ends the others."""

    def __init__(self, embedded: EmbeddedPostgres, directory: Path) -> None:
        self._embedded = embedded
        self._directory = directory
        self._stack = ExitStack()

    def create(self, case: Case, songs: Sequence[CatalogueRow]) -> Reached:
        """Create the databases of a case; skips the test where its server is not installed."""
        if case.server in (STANDBY, FAILOVER):
            return self._with_standby(case, songs)
        server = self._debian if case.server == DEBIAN else self._embedded
        service = _make(server, case, songs)
        return Reached(
            replace(
                service,
                url=self._through(case.through, service.url) + case.parameters,
                ops_url=self._through(case.own_through, service.ops_url) + case.own_parameters,
            )
        )

    def remove(self) -> None:
        """Stop what was started here, and delete its files."""
        self._stack.close()

    def _with_standby(self, case: Case, songs: Sequence[CatalogueRow]) -> Reached:
        """Our own database lies elsewhere."""
        pair = Pair(self._directory / f"primary-{case.server}".replace(" ", "-"))
        self._stack.callback(pair.remove)
        service = replace(_make(pair.primary, case, songs), ops_url=make_service(self._embedded).ops_url)
        if case.server == STANDBY:
            return Reached(replace(service, url=pair.of_standby(service.url)))

        def fail_over(is_time: Callable[[], bool]) -> None:
            wait_until(is_time)
            pair.primary.stop("immediate")
            wait_until(lambda: READ_ONLY in pair.standby.log)
            pair.standby.promote()

        both = replace(service, url=pair.of_both(service.url), admin_url=pair.of_both(service.admin_url))
        return Reached(both, fail_over)

    def _through(self, pooler: Pooler, url: str) -> str:
        if not pooler:
            return url
        mode: Literal["session", "transaction"] = "session" if pooler == SESSION else "transaction"
        # Round robin: two transactions meet two sessions, as on a busy server.
        return self._stack.enter_context(pgbouncer(url, mode, server_round_robin="1"))

    @cached_property
    def _debian(self) -> Cluster:
        cluster = debian_15()
        self._stack.callback(cluster.remove)
        return cluster


def _make(server: PostgresServer, case: Case, songs: Sequence[CatalogueRow]) -> ServiceDatabase:
    return make_service(
        server,
        id_type=case.id_type,
        vector_type=case.vector_type,
        songs=songs,
        encoding=case.encoding,
        arrange=case.arrange,
    )

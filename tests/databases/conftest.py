"""The servers of the cases."""

from collections.abc import Iterator

import pytest

from aboutness_local.postgres import EmbeddedPostgres
from tests.databases.servers import Servers


@pytest.fixture(scope="session")
def servers(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The embedded server of the session, and the others that cases ask for."""
    servers = Servers(postgres_server, tmp_path_factory.mktemp("servers"))
    yield servers
    servers.remove()

"""The embedded servers take connections from this machine only."""

import os
import socket
from urllib.parse import urlsplit

import pytest

from aboutness_local.postgres import EmbeddedPostgres
from tests.support.listening_sockets import addresses_of_port, addresses_of_session
from tests.support.stand_in import StandIn


def test_the_embedded_postgres_listens_on_loopback_only(postgres_server: EmbeddedPostgres) -> None:
    port = urlsplit(postgres_server.url()).port
    assert port is not None
    assert addresses_of_port(port) == {"127.0.0.1"}


def test_the_stand_in_endpoint_listens_on_loopback_only(stand_in: StandIn) -> None:
    port = urlsplit(stand_in.base_url).port
    assert port is not None
    assert addresses_of_port(port) == {"127.0.0.1"}


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_server_that_listens_elsewhere_would_be_seen(address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.bind((address, 0))
        listener.listen()
        assert addresses_of_port(listener.getsockname()[1]) == {address}
        assert address in addresses_of_session(os.getsid(0))

"""An endpoint that answers as the test has scripted, and clients of it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.provider_clients import Clients, open_clients
from tests.support.scripted_endpoint import ScriptedEndpoint


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def clients(endpoint: ScriptedEndpoint) -> AsyncIterator[Clients]:
    async with open_clients(endpoint.base_url) as clients:
        yield clients

"""Fixtures of all tests, each made when asked for: a Postgres, services on it, the stand-in endpoint."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from aboutness_assets.database.operations.connection import Operations
    from aboutness_assets.limits.throttle import Throttle
    from aboutness_local.postgres import EmbeddedPostgres
    from tests.support.service_database import ServiceDatabase
    from tests.support.stand_in import StandIn

_throttle_numbers = count(1)

# No deadline for one example: how long it takes depends on what else the machine does.
settings.register_profile("without deadline", deadline=None, print_blob=True)
settings.load_profile("without deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reliability-results",
        type=Path,
        metavar="PATH",
        help="append what was injected, lost and paid twice to this file, one JSON line a result",
    )
    parser.addoption(
        "--money-results",
        type=Path,
        metavar="PATH",
        help="append what was billed and what the ledger says to this file, one JSON line per result",
    )
    parser.addoption(
        "--database-results",
        type=Path,
        metavar="PATH",
        help="append what became of each case of a database to this file, one JSON line per case",
    )
    parser.addoption(
        "--ui-results",
        type=Path,
        metavar="PATH",
        help="append what a step of the runbook took a person to this file, one JSON line per step",
    )
    parser.addoption("--pictures", type=Path, metavar="PATH", help="write the pictures of the UI there")


# A shell starts what it puts into the background with SIGINT ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def reliability_result(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Appends a result to the file of --reliability-results, if given, for reliability_report.py."""
    return _appends_results(request.config.getoption("--reliability-results"))


@pytest.fixture
def money_result(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Appends a result to the file of --money-results, if given, for costs_report.py."""
    return _appends_results(request.config.getoption("--money-results"))


@pytest.fixture
def database_result(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Appends a result to the file of --database-results, if given, for databases_report.py."""
    return _appends_results(request.config.getoption("--database-results"))


@pytest.fixture
def ui_result(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Appends a result to the file of --ui-results, if given."""
    return _appends_results(request.config.getoption("--ui-results"))


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> Path | None:
    """Where the pictures of the docs are written, if that was asked for."""
    path: Path | None = request.config.getoption("--pictures")
    return path


def _appends_results(path: Path | None) -> Callable[..., None]:
    def tell(**result: Any) -> None:
        if path:
            with path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(result) + "\n")

    return tell


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres for the whole session; it forgets everything when the machine loses power."""
    from aboutness_local.postgres import EmbeddedPostgres

    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), {"fsync": "off", "max_connections": "200"})
    server.start()
    yield server
    server.reset()


@pytest.fixture
def make_service(postgres_server: EmbeddedPostgres) -> Iterator[Callable[..., ServiceDatabase]]:
    """Makes services with the arguments of service_database.make_service; they are dropped after the test."""
    from tests.support.service_database import drop_service
    from tests.support.service_database import make_service as make_on

    made: list[ServiceDatabase] = []

    def make(**arguments: Any) -> ServiceDatabase:
        made.append(make_on(postgres_server, **arguments))
        return made[-1]

    yield make
    for service in made:
        drop_service(postgres_server, service)


@pytest.fixture(scope="session")
def service_of_session(postgres_server: EmbeddedPostgres) -> ServiceDatabase:
    """One service for tests that leave nothing in its tables that another would mind."""
    from tests.support.service_database import make_service as make_on

    return make_on(postgres_server)


@pytest.fixture
async def operations(service_of_session: ServiceDatabase) -> AsyncIterator[Operations]:
    """Our own Postgres, that of the session; names in it must be of the test alone."""
    from aboutness_assets.database.operations.connection import open_operations

    async with open_operations(service_of_session.ops_url) as operations:
        yield operations


@pytest.fixture
def make_throttle(operations: Operations) -> Callable[..., Throttle]:
    """Makes throttles with the arguments of Throttle, each with a limit of its own.

    waits: seconds after a 429 that names no time. A clock is the limit's clock too.
    """
    from aboutness_assets.database.operations.limit_store import PostgresLimitStore
    from aboutness_assets.limits.throttle import Throttle

    def make(
        *, requests_per_minute: float = 0, waits: tuple[float, ...] = (0.01, 0.02), **arguments: Any
    ) -> Throttle:
        limit = PostgresLimitStore(
            operations,
            f"limit {next(_throttle_numbers)}",
            requests_per_minute=requests_per_minute,
            waits=waits,
            clock=arguments.get("clock"),
        )
        return Throttle(limit, **arguments)

    return make


@pytest.fixture(scope="session")
def stand_in_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The endpoint of the whole session; its vectors have 8 numbers unless a request says otherwise."""
    from aboutness_local.endpoint_process import EndpointProcess
    from tests.support.stand_in import StandIn

    process = EndpointProcess(tmp_path_factory.mktemp("endpoint"), dimension=8).start()
    yield StandIn(process)
    process.reset()


@pytest.fixture
def stand_in(stand_in_of_session: StandIn) -> StandIn:
    """The stand-in endpoint, honest, unlimited and without memory."""
    stand_in_of_session.reset()
    return stand_in_of_session

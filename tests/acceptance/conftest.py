"""Fixtures of the acceptance tests: the project with a DAGSTER_HOME, and with dagster dev."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.dagster_project import DagsterProject
    from tests.support.service_database import ServiceDatabase
    from tests.support.stand_in import StandIn


@pytest.fixture
def make_project(
    make_service: Callable[..., ServiceDatabase], stand_in: StandIn, tmp_path: Path
) -> Iterator[Callable[..., DagsterProject]]:
    """Makes the project for a service with these songs and settings; afterwards looks for kept secrets."""
    from tests.support.dagster_project import DagsterProject

    made: list[DagsterProject] = []

    def make(songs: Any, *, id_type: str = "integer", **settings: str) -> DagsterProject:
        service = make_service(songs=songs, id_type=id_type)
        made.append(DagsterProject.create(tmp_path / f"home{len(made)}", service, stand_in, **settings))
        return made[-1]

    yield make
    for project in made:
        project.assert_no_secret_kept()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the walk through the UI, which takes minutes, so that the others run beside it."""
    items.sort(key=lambda item: item.path.name != "test_ui.py")

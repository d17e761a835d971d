"""A run that is started again waits behind no other."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.tags import PRIORITY_TAG, RETRY_NUMBER_TAG

from aboutness_assets.orchestration.instance.run_queue import RetriesFirst


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.mark.parametrize(
    ("tags", "priority"),
    [({}, None), ({RETRY_NUMBER_TAG: "1"}, "1"), ({RETRY_NUMBER_TAG: "2", PRIORITY_TAG: "5"}, "5")],
)
def test_a_retry_has_priority(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], priority: str | None
) -> None:
    queue = RetriesFirst()
    queue.register_instance(instance)
    run = instance.add_run(dg.DagsterRun("job", tags=tags))
    monkeypatch.setattr(
        "dagster._core.run_coordinator.QueuedRunCoordinator.submit_run",
        lambda _, context: context.dagster_run,
    )
    queue.submit_run(SubmitRunContext(run, None))  # type: ignore[arg-type]
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.tags.get(PRIORITY_TAG) == priority

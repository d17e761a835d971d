"""Dagster's storage: a failure is seen as a whole or not at all, and a canceled backfill stays canceled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import WILL_RETRY_TAG

from tests.support.dagster_project import DagsterProject
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn


@pytest.fixture(scope="module")
def instance(
    service_of_session: ServiceDatabase,
    stand_in_of_session: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dg.DagsterInstance]:
    """The project's own instance, which starts lost runs again."""
    home = tmp_path_factory.mktemp("publication") / "home"
    with DagsterProject.create(home, service_of_session, stand_in_of_session).instance() as opened:
        yield opened


@pytest.fixture
def newest(instance: dg.DagsterInstance) -> int:
    return instance.event_log_storage.get_maximum_record_id() or 0


def started(instance: dg.DagsterInstance) -> str:
    return instance.add_run(dg.DagsterRun("job", status=DagsterRunStatus.STARTED)).run_id


def failure(run_id: str, timestamp: float) -> dg.EventLogEntry:
    event = dg.DagsterEvent(DagsterEventType.RUN_FAILURE.value, "job", message="Its worker is lost.")
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        None, "error", "", run_id, timestamp, job_name="job", dagster_event=event
    )


def seen(instance: dg.DagsterInstance, after: int) -> list[str]:
    """The runs whose failure the daemon of retries sees."""
    events = instance.event_log_storage.get_logs_for_all_runs_by_log_id(
        after, {DagsterEventType.RUN_FAILURE}, 500
    )
    return [event.run_id for event in events.values()]


def test_a_failure_is_seen_when_it_is_published_and_none_passes_it(
    instance: dg.DagsterInstance, newest: int
) -> None:
    first, second = started(instance), started(instance)
    instance.event_log_storage.store_event(failure(first, time.time()))
    instance.handle_new_event(failure(second, time.time()))
    assert seen(instance, newest) == []
    event = failure(first, time.time()).get_dagster_event()
    instance.run_storage.handle_run_event(first, event, datetime.now(UTC))
    assert seen(instance, newest) == [first, second]


def test_a_failure_that_a_dead_process_left_half_published_holds_nobody_up(
    instance: dg.DagsterInstance, newest: int
) -> None:
    lost, later = started(instance), started(instance)
    instance.event_log_storage.store_event(failure(lost, time.time() - 61))
    instance.handle_new_event(failure(later, time.time()))
    assert seen(instance, newest) == [lost, later]


def test_whether_a_run_is_started_again_is_decided_before_it_counts_as_failed(
    instance: dg.DagsterInstance, service_of_session: ServiceDatabase
) -> None:
    run_id = started(instance)
    with psycopg.connect(service_of_session.ops_url, autocommit=True) as connection:
        connection.execute(
            """create function undecided() returns trigger language plpgsql as $$
               begin
                 if new.status = 'FAILURE' and not exists (
                   select from run_tags where run_id = new.run_id and key = 'dagster/will_retry'
                 ) then raise 'failed, and nothing decided'; end if;
                 return new;
               end $$;
               create trigger undecided before update on runs for each row execute function undecided()"""
        )
        try:
            instance.handle_new_event(failure(run_id, time.time()))
        finally:
            connection.execute("drop trigger undecided on runs; drop function undecided()")
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert (run.status, run.tags[WILL_RETRY_TAG]) == (DagsterRunStatus.FAILURE, "true")


def test_a_cancellation_is_not_overwritten_by_who_read_the_backfill_before(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    requested = PartitionBackfill(
        backfill_id=tmp_path.name,
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=time.time(),
    )
    instance.add_backfill(requested)
    instance.update_backfill(requested.with_failure_count(1))
    assert status_of(instance, requested) == (BulkActionStatus.REQUESTED, 1)
    canceling: PartitionBackfill = requested.with_status(  # type: ignore[no-untyped-call]
        BulkActionStatus.CANCELING
    )
    instance.update_backfill(canceling)
    instance.update_backfill(requested.with_failure_count(2))
    assert status_of(instance, requested) == (BulkActionStatus.CANCELING, 0)
    instance.update_backfill(
        canceling.with_status(BulkActionStatus.CANCELED)  # type: ignore[no-untyped-call]
    )
    assert status_of(instance, requested) == (BulkActionStatus.CANCELED, 0)


def status_of(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> tuple[BulkActionStatus, int]:
    found = instance.get_backfill(backfill.backfill_id)
    assert found is not None
    return found.status, found.failure_count

"""What every CapabilityStore does, shown on the one in Postgres and on the one that unit tests use."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aboutness_assets.database.operations.capability_store import (
    PostgresCapabilityStore,
    forget_capabilities,
)
from aboutness_assets.database.operations.connection import Operations
from aboutness_assets.provider.capability_store import CapabilityStore
from tests.support.memory_capability_store import MemoryCapabilityStore

FACTS = {
    "left_out": ["reasoning_effort"],
    "max_inputs": 64,
    "is_plain": False,
    "limit": None,
    "ü": {"a": [1.5]},
}

_models = count()


@dataclass
class Clock:
    """Moves only when a test moves it."""

    now: datetime = datetime(2026, 11, 25, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


MakeProcesses = Callable[[int], list[CapabilityStore]]


@pytest.fixture(params=["postgres", "memory"])
def make_processes(request: pytest.FixtureRequest, operations: Operations, clock: Clock) -> MakeProcesses:
    """Makes the stores of so many processes that ask one model; nothing is known of it yet."""
    return lambda processes: of_kind(request.param, operations, clock, processes)


def of_kind(kind: str, operations: Operations, clock: Clock, processes: int = 1) -> list[CapabilityStore]:
    if kind == "memory":
        return [MemoryCapabilityStore(clock)] * processes
    model = f"conformance {next(_models)}"
    return [
        PostgresCapabilityStore(operations, "chat", "https://host/v1", model, clock=clock)
        for _ in range(processes)
    ]


async def test_at_first_nothing_is_known(make_processes: MakeProcesses) -> None:
    [store] = make_processes(1)
    assert await store.recall() == {}
    await store.learn({})
    assert await store.recall() == {}


async def test_what_one_process_learned_all_others_know(make_processes: MakeProcesses) -> None:
    first, second = make_processes(2)
    await first.learn(FACTS)
    assert await second.recall() == FACTS


async def test_a_fact_replaces_the_one_of_its_name_alone(make_processes: MakeProcesses) -> None:
    first, second = make_processes(2)
    await first.learn({"max_inputs": 64, "left_out": ["dimensions"]})
    await second.learn({"max_inputs": 32})
    assert await first.recall() == {"max_inputs": 32, "left_out": ["dimensions"]}


async def test_processes_that_learn_at_the_same_time_lose_nothing(make_processes: MakeProcesses) -> None:
    stores = make_processes(6)
    await asyncio.gather(
        *(store.learn({"own": number, f"of {number}": number}) for number, store in enumerate(stores))
    )
    known = await stores[0].recall()
    assert known.keys() == {"own", *(f"of {number}" for number in range(6))}


async def test_each_fact_is_forgotten_a_day_after_it_was_learned(
    make_processes: MakeProcesses, clock: Clock
) -> None:
    [store] = make_processes(1)
    await store.learn({"older": 1, "renewed": 1})
    clock.now += timedelta(hours=23, minutes=59)
    assert await store.recall() == {"older": 1, "renewed": 1}
    await store.learn({"renewed": 2})
    clock.now += timedelta(minutes=1)
    assert await store.recall() == {"renewed": 2}
    clock.now += timedelta(days=1)
    assert await store.recall() == {}


STEPS = st.lists(
    st.tuples(
        st.integers(0, 30).map(lambda hours: timedelta(hours=hours)),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 9) | st.booleans() | st.none()),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_both_stores_recall_the_same_after_any_row_of_facts(
    operations: Operations, clock: Clock, steps: list[tuple[timedelta, dict[str, Any]]]
) -> None:
    [of_postgres], [of_memory] = [of_kind(kind, operations, clock) for kind in ("postgres", "memory")]
    for passed, facts in steps:
        clock.now += passed
        for store in (of_postgres, of_memory):
            await store.learn(facts)
        assert await of_postgres.recall() == await of_memory.recall()


async def test_endpoints_models_and_kinds_are_known_apart(operations: Operations) -> None:
    keys = [("chat", "https://a/v1", "m"), ("chat", "https://b/v1", "m"), ("chat", "https://a/v1", "n")]
    keys.append(("embedding", "https://a/v1", "m"))
    stores = [PostgresCapabilityStore(operations, *key) for key in keys]
    for number, store in enumerate(stores):
        await store.learn({"number": number})
    assert [await store.recall() for store in stores] == [{"number": number} for number in range(4)]


async def test_all_is_forgotten_by_a_command(operations: Operations) -> None:
    store = PostgresCapabilityStore(operations, "chat", "https://forgotten/v1", "m")
    await forget_capabilities(operations)
    await store.learn({"a": 1, "b": 2})
    assert await forget_capabilities(operations) == 2
    assert await store.recall() == {}

"""The brake: fewer writers and rests while the database is slow, all writers again afterwards."""

import asyncio
import logging

import pytest

from aboutness_assets.pipeline.brake import LAG_SECONDS, LOOK_AT_LAG_SECONDS, DatabaseBrake

LOG = logging.getLogger("brake")


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def brake(clock: Clock) -> DatabaseBrake:
    return DatabaseBrake(6, LOG, clock=clock, sleep=clock.sleep)


def test_a_database_that_was_slow_from_the_start_is_not_slower_than_before(brake: DatabaseBrake) -> None:
    for _ in range(10):
        brake.took(3.0, 500)
    assert not brake.is_on


def test_few_rows_are_not_slow_because_a_transaction_takes_its_time(brake: DatabaseBrake) -> None:
    brake.took(0.2, 500)
    brake.took(0.05, 1)
    brake.took(0.9, 500)  # more than four times as long, and still quick
    assert not brake.is_on


def test_slow_transactions_halve_the_writers_down_to_one_and_quick_ones_bring_them_back(
    brake: DatabaseBrake, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    brake.took(0.2, 500)
    writers = []
    for _ in range(4):
        brake.took(2.0, 500)
        writers.append(brake.writers)
    assert writers == [3, 1, 1, 1]
    clock.now += 2
    for _ in range(5):
        brake.took(0.2, 500)
    assert brake.writers == 6
    assert not brake.is_on
    assert caplog.messages == [
        "Limited by the database: 500 rows took 2.0 s, 10 times as long as before. "
        "Writers at once: 3 of 6, after a rest of 2.0 s.",
        "No longer limited by the database: 6 writers again.",
    ]


async def test_the_database_rests_for_as_long_as_the_slow_transaction_took(
    brake: DatabaseBrake, clock: Clock
) -> None:
    brake.took(0.2, 500)
    brake.took(5.0, 500)
    async with brake.turn():
        assert clock.now == 5.0
    brake.took(1000.0, 500)
    async with brake.turn():
        assert clock.now == 35.0  # half a minute at most


async def test_no_more_than_the_writers_of_now_write_at_once(brake: DatabaseBrake) -> None:
    brake.took(0.2, 500)
    brake.took(2.0, 500)
    writing, most, end = 0, 0, asyncio.Event()

    async def write() -> None:
        nonlocal writing, most
        async with brake.turn():
            writing += 1
            most = max(most, writing)
            await end.wait()
            writing -= 1

    tasks = [asyncio.create_task(write()) for _ in range(8)]
    for _ in range(20):
        await asyncio.sleep(0)
    end.set()
    await asyncio.gather(*tasks)
    assert most == 3


def test_a_standby_that_is_far_behind_is_looked_at_now_and_then_and_brakes(
    brake: DatabaseBrake, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert (brake.is_lag_due, brake.is_lag_due) == (True, False)
    brake.lags(LAG_SECONDS)
    assert not brake.is_on
    brake.lags(LAG_SECONDS + 1)
    assert brake.is_on
    assert "a standby is 31 s behind" in caplog.text
    clock.now += LOOK_AT_LAG_SECONDS
    assert brake.is_lag_due

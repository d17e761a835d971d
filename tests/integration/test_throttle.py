"""The throttle with its limits in our own Postgres: several processes and a provider, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aboutness_assets.database.operations.connection import open_operations
from aboutness_assets.limits.store import Pause
from aboutness_assets.limits.throttle import Throttle
from tests.support.service_database import ServiceDatabase
from tests.support.simulated_provider import Provider, keep_asking, processes
from tests.support.virtual_time import now, release_times, run_in_virtual_time

BURST_SECONDS = 1
"""What was not used may be made up for within so long."""


@pytest.fixture(scope="module")
def url(service_of_session: ServiceDatabase) -> str:
    """Our own Postgres, its schema up to date."""

    async def lay() -> None:
        async with open_operations(service_of_session.ops_url):
            pass

    asyncio.run(lay())
    return service_of_session.ops_url


def with_many(
    url: str, number: int, test: Callable[[list[Throttle]], Awaitable[None]], **limits: Any
) -> None:
    """Run a test with the throttles of so many processes that share a key, in virtual time."""

    async def main() -> None:
        async with processes(url, number, **limits) as throttles:
            await test(throttles)

    run_in_virtual_time(main)


async def ask_for(seconds: float, provider: Provider, throttles: list[Throttle]) -> None:
    """Let every process ask as much as it may."""
    asking = [asyncio.create_task(keep_asking(provider, throttle)) for throttle in throttles]
    await asyncio.sleep(seconds)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("limit", [500, 5000])
def test_processes_that_share_a_key_use_its_limit_and_meet_no_429(url: str, limit: int, number: int) -> None:
    async def test(throttles: list[Throttle]) -> None:
        provider, began = Provider(requests_per_minute=limit), now()
        await ask_for(90, provider, throttles)
        assert provider.rate(began + 30, began + 90) == pytest.approx(limit / 60, rel=0.02)
        assert provider.refused == []

    with_many(url, number, test)


@pytest.mark.parametrize("starts_at", [0.1, 1])
@pytest.mark.parametrize("counts_answers", [False, True])
def test_a_token_limit_is_used_whether_the_provider_counts_answers_or_not(
    url: str, counts_answers: bool, starts_at: float
) -> None:
    async def test(throttles: list[Throttle]) -> None:
        provider = Provider(
            requests_per_minute=5000,
            tokens_per_minute=1_300_000,
            counts="usage" if counts_answers else "prompt",
            starts_at=starts_at,
        )
        began = now()
        await ask_for(90, provider, throttles)
        per_minute = 1_300_000 / (1300 if counts_answers else 500)
        assert provider.rate(began + 30, began + 90) == pytest.approx(per_minute / 60, rel=0.06)
        assert provider.share_refused(began + 30) < 0.005

    with_many(url, 2, test)


@pytest.mark.parametrize("starts_at", [0.1, 1])
def test_what_others_use_of_the_same_key_is_left_to_them(url: str, starts_at: float) -> None:
    async def test(throttles: list[Throttle]) -> None:
        provider = Provider(requests_per_minute=5000, other_users_share=0.4, starts_at=starts_at)
        began = now()
        await ask_for(260, provider, throttles)
        assert provider.rate(began + 200, began + 260) == pytest.approx(0.6 * 5000 / 60, rel=0.03)
        assert provider.share_refused() < 0.005

    with_many(url, 2, test)


@pytest.mark.parametrize("factor", [0.5, 2])
def test_a_limit_that_changes_in_mid_run_is_followed(url: str, factor: float) -> None:
    async def test(throttles: list[Throttle]) -> None:
        provider, began = Provider(requests_per_minute=2000), now()
        changing = asyncio.get_running_loop().call_later(40, provider.change, 2000 * factor)
        await ask_for(120, provider, throttles)
        changing.cancel()
        assert provider.rate(began + 60, began + 120) == pytest.approx(factor * 2000 / 60, rel=0.02)
        assert provider.share_refused() < 0.005

    with_many(url, 2, test)


def test_a_provider_that_counts_a_sliding_minute_is_used_too(url: str) -> None:
    async def test(throttles: list[Throttle]) -> None:
        provider, began = Provider(requests_per_minute=5000, algorithm="window"), now()
        await ask_for(180, provider, throttles)
        assert provider.rate(began + 60, began + 180) > 0.9 * 5000 / 60
        assert provider.share_refused() < 0.005

    with_many(url, 2, test)


@pytest.mark.parametrize("retry_after", [False, True])
def test_without_headers_and_settings_the_limit_is_found_out(url: str, retry_after: bool) -> None:
    async def test(throttles: list[Throttle]) -> None:
        provider = Provider(requests_per_minute=2000, headers=False, retry_after=retry_after)
        began = now()
        await ask_for(600, provider, throttles)
        assert provider.rate(began + 120, began + 600) > 0.97 * 2000 / 60
        assert provider.share_refused(began + 120) < 0.005

    with_many(url, 2, test)


def test_processes_get_the_same_share(url: str) -> None:
    async def test(throttles: list[Throttle]) -> None:
        providers = [Provider(requests_per_minute=10_000) for _ in throttles]
        asking = [
            asyncio.create_task(keep_asking(provider, throttle))
            for provider, throttle in zip(providers, throttles, strict=True)
        ]
        await asyncio.sleep(60)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        shares = [len(provider.admitted) for provider in providers]
        assert max(shares) - min(shares) < 0.1 * sum(shares) / 4

    with_many(url, 4, test, requests_per_minute=1200)


def test_what_a_dead_process_had_reserved_is_missed_by_nobody_for_long(url: str) -> None:
    async def test(throttles: list[Throttle]) -> None:
        dead, alive = throttles
        for _ in range(20):
            dying = asyncio.create_task(dead.reserve(100))
            await asyncio.sleep(0.01)
            dying.cancel()
        began = now()
        times = await release_times(alive, 120)
        assert times[-1] <= 7
        assert now() - began <= 7

    with_many(url, 2, test, requests_per_minute=1200)


async def limited_again(throttle: Throttle, headers: dict[str, str] | None = None) -> Pause:
    """Sends one request that is answered with 429."""
    pause, _ = await throttle.rate_limited(headers or {}, await throttle.reserve(1))
    return pause


def test_a_429_stops_every_process_as_long_as_the_server_says_and_no_stampede_follows(url: str) -> None:
    async def test(throttles: list[Throttle]) -> None:
        for throttle in throttles:
            throttle.observe({"x-ratelimit-limit-requests": "600"}, await throttle.reserve(1))
        assert (await limited_again(throttles[0], {"retry-after-ms": "2500"})).seconds == 2.5
        times = sorted(
            at
            for at_of_one in await asyncio.gather(*(release_times(each, 20) for each in throttles))
            for at in at_of_one
        )
        assert times[0] == pytest.approx(2.5, abs=0.01)
        assert all(sum(start <= at < start + 1 for at in times) <= 12 for start in times)

    with_many(url, 4, test)


def test_a_process_that_waits_long_hears_of_another_ones_429(url: str) -> None:
    async def test(throttles: list[Throttle]) -> None:
        waiting, limited = throttles
        sent = [await limited.reserve(1) for _ in range(2)][-1]
        later = asyncio.create_task(release_times(waiting, 1))  # in a minute
        await asyncio.sleep(1)
        await limited.rate_limited({"retry-after": "200"}, sent)
        assert (await later)[0] >= 200

    with_many(url, 2, test, requests_per_minute=1)

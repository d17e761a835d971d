"""Transactions in our own Postgres: group commit, a full pool, a Postgres that is away."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg_pool import AsyncConnectionPool

from aboutness_assets.database.operations.connection import (
    Operations,
    OperationsUnavailable,
    Work,
    open_operations,
)
from aboutness_assets.domain.errors import FatalError
from tests.support.service_database import ServiceDatabase

MakeService = Callable[..., ServiceDatabase]


async def transaction(connection: AsyncConnection) -> str:
    """The id of the transaction that it is done in."""
    [(name,)] = await fetch(connection, "select pg_current_xact_id()::text")
    return str(name)


async def fetch(connection: AsyncConnection, query: str) -> list[tuple[object, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


async def test_what_comes_while_a_commit_is_under_way_shares_the_next(operations: Operations) -> None:
    under_way, may_commit = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> str:
        under_way.set()
        await may_commit.wait()
        return await transaction(connection)

    first = asyncio.create_task(operations.write(slow))
    await under_way.wait()
    others = [asyncio.create_task(operations.write(transaction)) for _ in range(5)]
    await asyncio.sleep(0)
    may_commit.set()

    assert len({await other for other in others}) == 1
    assert await first != await others[0]


async def test_of_what_shares_a_commit_only_what_fails_is_not_written(operations: Operations) -> None:
    async with operations.connection() as connection:
        await connection.execute("create table if not exists public.written (number integer primary key)")
        await connection.execute("truncate public.written")

    def insert(number: int) -> Work[int]:
        async def work(connection: AsyncConnection) -> int:
            await connection.execute("insert into public.written values (%s)", [number])
            if number == 2:
                raise ValueError
            return number

        return work

    numbers = (1, 2, 3, 1, 4)
    outcomes = await asyncio.gather(*(operations.write(insert(n)) for n in numbers), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [int, ValueError, int, UniqueViolation, int]
    async with operations.connection() as connection:
        assert await fetch(connection, "select number from public.written order by 1") == [(1,), (3,), (4,)]


async def test_what_is_to_be_written_is_written_although_its_caller_is_cancelled(
    make_service: MakeService,
) -> None:
    url = make_service().ops_url

    async def record(connection: AsyncConnection) -> None:
        await connection.execute(
            "insert into aboutness_ops.old_style_baseline values ('table', '2026-02-20', '{song_id}')"
        )

    async with open_operations(url) as operations:
        caller = asyncio.create_task(operations.write(record))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    async with await psycopg.AsyncConnection.connect(url) as connection:
        columns = await fetch(connection, "select columns from aboutness_ops.old_style_baseline")
        assert columns == [(["song_id"],)]


async def test_a_postgres_that_does_not_answer_is_told_without_the_password() -> None:
    with pytest.raises(FatalError, match="DAGSTER_PG_URL") as stopped:
        async with open_operations("postgresql://user:sesame@127.0.0.1:1/database"):
            pass

    assert "sesame" not in str(stopped.value)


async def test_a_full_pool_is_not_reported_as_a_postgres_that_is_away(make_service: MakeService) -> None:
    async with open_operations(make_service().ops_url, pool_size=1, retry_seconds=0.2) as operations:
        async with operations.connection():
            with pytest.raises(OperationsUnavailable, match=r"All 1 connections .* were in use") as full:
                await operations.query(transaction)

        assert "away" not in str(full.value)
        assert await operations.query(transaction)


async def test_a_postgres_that_is_away_is_reported_as_away() -> None:
    async with AsyncConnectionPool("postgresql://127.0.0.1:1/database", open=False, timeout=1) as pool:
        with pytest.raises(OperationsUnavailable, match=r"was away for 0 s: .*[Cc]onnection refused"):
            await Operations(pool, retry_seconds=0.2).query(transaction)

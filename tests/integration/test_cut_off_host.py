"""A host that the network loses in the middle of a run: its successor takes over, and it stops by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.backfills import Backfills, wait_until
from tests.support.kills import Campaign, Forks
from tests.support.money import metered
from tests.support.network import Network, network, why_no_network
from tests.support.servers_on_hosts import PostgresHost, StandInHost
from tests.support.service_database import make_service
from tests.support.stand_in import StandIn

# Who writes a row, and when, as the service's Postgres sees it.
_NOTE_WRITERS = """
create table writer (address inet, at timestamptz);
create function note_writer() returns trigger language plpgsql security definer set search_path = public as $$
begin
  insert into writer values (inet_client_addr(), clock_timestamp());
  return null;
end $$;
create trigger note_writer after insert on song_aboutness for each row execute function note_writer();
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    if reason := why_no_network():
        pytest.skip(reason)
    names = ["operator", "database", "provider", "first", "second"]
    with network(names) as made, made["operator"].entered():
        yield made


@pytest.fixture
def backfills(hosts: Network, tmp_path: Path) -> Iterator[Backfills]:
    postgres = PostgresHost(hosts["database"], tmp_path / "postgres")
    provider = StandInHost(hosts["provider"], tmp_path / "provider.log")
    postgres.start()
    provider.wait()
    yield Backfills(make_service(postgres), StandIn(provider))
    postgres.reset()


@pytest.fixture
def runs_on(hosts: Network, tmp_path: Path) -> Iterator[Callable[[str], Forks]]:
    made: dict[str, Forks] = {}

    def start(name: str) -> Forks:
        directory = tmp_path / name
        directory.mkdir()
        made[name] = Forks(directory, hosts[name])
        return made[name]

    yield start
    for name, forks in made.items():
        hosts[name].kill()
        forks.end()


@pytest.mark.thorough
async def test_a_host_that_is_cut_off_is_succeeded_and_neither_pays_nor_writes_beside_its_successor(
    hosts: Network,
    backfills: Backfills,
    runs_on: Callable[[str], Forks],
    reliability_result: Callable[..., None],
) -> None:
    first, second = runs_on("first"), runs_on("second")
    backfills.stand_in.control(metered(latency_seconds={"chat": 0.2, "embeddings": 0.1}))
    campaign = await Campaign.begin(backfills, first, songs=600)
    backfills.arrange(_NOTE_WRITERS)
    cut_off = campaign.start()
    wait_until(lambda: bool(backfills.look("select from writer limit 1")) and len(backfills.packs()) >= 8)

    hosts.cut("first")
    campaign.forks = second
    successor = campaign.start()
    wait_until(lambda: sent_by(backfills, successor.run_id) != [])
    hosts.mend("first")

    cut_off.wait()
    [fault] = cut_off.outcome().values()
    assert "another run took" in fault
    campaign.note_end(cut_off.run_id, cut_off.outcome())
    successor.finish()
    campaign.note_end(successor.run_id, successor.outcome())
    assert max(sent_by(backfills, cut_off.run_id)) < min(sent_by(backfills, successor.run_id))
    assert max(written_by(backfills, hosts["first"].address)) < min(
        written_by(backfills, hosts["second"].address)
    )
    accounts = campaign.finish()
    reliability_result(kind="kill", where="its host is cut off", **{**asdict(accounts), "kills": 1})
    assert accounts.answers_received == accounts.used + accounts.replayed
    assert accounts.asked_twice == 0


def sent_by(backfills: Backfills, run_id: str) -> list[tuple[Any, ...]]:
    """When requests of a run were entered in the ledger, without those that did not leave."""
    return backfills.journal(
        f"select sent_at from aboutness_ops.spending where run_id = '{run_id}' and state <> 'refused'"
    )


def written_by(backfills: Backfills, address: str) -> list[tuple[Any, ...]]:
    """When rows were written from an address."""
    return backfills.look("select at from writer where address = %s", [address])

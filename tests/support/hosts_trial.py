"""Several hosts, each a network namespace: a head, two workers, two Postgres servers and a provider."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from tests.support.dagster_project import DagsterProject
from tests.support.machine import CODE, HOME, Machine
from tests.support.money import CHAT_PRICES, EMBEDDING_PRICE
from tests.support.network import Network, network
from tests.support.servers_on_hosts import PostgresHost, StandInHost
from tests.support.service_database import ServiceDatabase, make_service
from tests.support.stand_in import StandIn

WORKERS = ("worker1", "worker2")
HEAD_UNITS = ("host/aboutness-code-server", "host/aboutness-daemon", "host/aboutness-webserver")
WORKER_UNITS = ("hosts/aboutness-worker",)
PATIENCE_SECONDS = 900

# Who writes a row, and when, as the service's Postgres sees it.
_NOTE_WRITERS = """
create table writer (song_id integer, address inet, at timestamptz);
create function note_writer() returns trigger language plpgsql security definer set search_path = public as $$
begin
  insert into writer values (new.song_id, inet_client_addr(), clock_timestamp());
  return null;
end $$;
create trigger note_writer after insert on song_aboutness for each row execute function note_writer();
"""


def many_songs(number: int) -> Iterator[tuple[int, str, str]]:
    """Songs of the sample catalogue, again and again with another number."""
    sample = (resources.files("aboutness_local") / "sample_songs.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(sample)))
    for song_id, row in enumerate(islice(cycle(rows), number), 1):
        part = (song_id - 1) // len(rows)
        yield song_id, row["title"] + (f" (take {part + 1})" if part else ""), row["artist"]


@dataclass
class Trial:
    """Hosts on which a backfill is under way."""

    hosts: Network
    service_server: PostgresHost
    own_server: PostgresHost
    service: ServiceDatabase
    stand_in: StandIn
    machines: dict[str, Machine]
    project: DagsterProject
    songs: int
    requests_per_minute: int
    found: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def provider_does(self, **behavior: Any) -> None:
        """Let the stand-in endpoint do this beside its limits and prices; nothing: be honest."""
        self.stand_in.control(
            {
                "prices": {"chat": CHAT_PRICES, "embedding": EMBEDDING_PRICE},
                "latency_seconds": {"chat": 1.0, "embeddings": 0.2},
                "limits": {"requests_per_minute": self.requests_per_minute, "starts_at": 0},
                **behavior,
            }
        )

    def tell(self, name: str, value: Any) -> None:
        """Print a finding, with the seconds since the beginning."""
        self.found[name] = value
        print(f"{time.monotonic() - self.began:6.0f} s  {name}: {value}", flush=True)

    def sql(self, url: str, query: str) -> list[tuple[Any, ...]]:
        """What a database says."""
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def service_sql(self, query: str) -> list[tuple[Any, ...]]:
        """What the service's database says."""
        return self.sql(self.service.admin_url, query)

    def own_sql(self, query: str) -> list[tuple[Any, ...]]:
        """What our own database says."""
        return self.sql(self.service.ops_url, query)

    def wait(self, condition: Callable[[], Any], what: str) -> float:
        """Look until it is so; the seconds that it took."""
        begun = time.monotonic()
        while True:
            with suppress(psycopg.OperationalError, OSError):
                if condition():
                    return time.monotonic() - begun
            assert time.monotonic() - begun < PATIENCE_SECONDS, f"waited in vain for {what}"
            time.sleep(0.5)

    def rows(self) -> int:
        """How many songs have a row."""
        [(rows,)] = self.service_sql("select count(*) from song_aboutness")
        return int(rows)

    def runs_on(self, name: str) -> set[str]:
        """Runs in progress that were started on a worker."""
        address = self.hosts[name].address
        with self.project.instance() as instance:
            runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return {run.run_id for run in runs if address in run.tags.get(".dagster/grpc_info", "")}

    def stages(self, lost: set[str], since: float) -> dict[str, list[int]]:
        """When lost runs were noticed and their successors started, in seconds; sorted."""
        with self.project.instance() as instance:
            old = instance.get_run_records(dg.RunsFilter(run_ids=list(lost)))
            new = [
                record
                for run_id in lost
                for record in instance.get_run_records(dg.RunsFilter(tags={PARENT_RUN_ID_TAG: run_id}))
            ]
        return {
            "noticed": sorted(round(record.end_time - since) for record in old if record.end_time),
            "started again": sorted(round(record.start_time - since) for record in new if record.start_time),
        }

    def sent(self, run_ids: set[str]) -> bool:
        """Whether one of the runs has sent a request."""
        names = ", ".join(f"'{run_id}'" for run_id in run_ids)
        return bool(
            run_ids and self.own_sql(f"select from aboutness_ops.attempt where run_id in ({names}) limit 1")
        )


@contextmanager
def trial(
    songs: int, range_size: int, ranges_per_run: int, requests_per_minute: int, max_usd: float
) -> Iterator[Trial]:
    """Everything installed, nothing started yet but the databases and the provider."""
    directory = Path(tempfile.mkdtemp(prefix="aboutness-hosts-", dir="/var/tmp"))
    directory.chmod(0o755)
    made = [path for path in (CODE, HOME) if not path.exists()]
    for path in made:
        path.mkdir(parents=True)
    try:
        names = ["operator", "service", "own", "provider", "head", *WORKERS]
        with network(names) as hosts, hosts["operator"].entered(), ExitStack() as stack:
            service_server = PostgresHost(hosts["service"], directory / "service")
            stack.callback(service_server.reset)
            own_server = PostgresHost(hosts["own"], directory / "own")
            stack.callback(own_server.reset)
            provider = StandInHost(hosts["provider"], directory / "provider.log")
            service_server.start()
            own_server.start()
            provider.wait()
            service = make_service(service_server, songs=list(many_songs(songs)))
            with psycopg.connect(service.admin_url) as admin:
                admin.execute("set local event_triggers = off")
                admin.execute(_NOTE_WRITERS)
            service = ServiceDatabase(service.url, service.admin_url, make_service(own_server).ops_url)
            stand_in = StandIn(provider)
            environment = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(CODE / "current"),
                "DAGSTER_HOME": str(HOME),
                "DATABASE_URL": service.url,
                "DAGSTER_PG_URL": service.ops_url,
                "OPENAI_BASE_URL": stand_in.base_url,
                "OPENAI_API_KEY": "sk-secret-of-the-hosts",
                "ABOUTNESS_CHAT_MODEL": "stand-in-writer",
                "ABOUTNESS_EMBEDDING_MODEL": "stand-in-wordllama",
                "ABOUTNESS_CHAT_PRICE": "0.10,0.01,0.50 (pretend price)",
                "ABOUTNESS_EMBEDDING_PRICE": "0.02 (pretend price)",
                "ABOUTNESS_MAX_USD": str(max_usd),
                "ABOUTNESS_REQUEST_TIMEOUT": "30",
                "ABOUTNESS_RANGE_SIZE": str(range_size),
                "ABOUTNESS_PARTITIONS_PER_RUN": str(ranges_per_run),
                "ABOUTNESS_WORKERS": ",".join(f"{hosts[name].address}:4266" for name in WORKERS),
            }
            machines = {}
            for name in ("head", *WORKERS):
                own = {**environment, "ABOUTNESS_WORKER_ADDRESS": hosts[name].address}
                machines[name] = Machine(hosts[name], directory / name, own)
                machines[name].install()
            project = DagsterProject(directory / "head" / "home", service, environment)
            begun = Trial(
                hosts,
                service_server,
                own_server,
                service,
                stand_in,
                machines,
                project,
                songs,
                requests_per_minute,
            )
            begun.provider_does()
            yield begun
    finally:
        shutil.rmtree(directory)
        for path in made:
            path.rmdir()

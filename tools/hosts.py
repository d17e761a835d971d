"""A backfill over several hosts, which are network namespaces of this machine, and what it survives.

Runs the commands of the units in deploy/ on a head and two workers, beside two Postgres servers and the
stand-in endpoint on hosts of their own. usage: python -m tools.hosts [--songs N] [--no-faults]; as root.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from tests.support.dagster_project import DagsterDev, DagsterProject
from tests.support.money import CHAT_PRICES, EMBEDDING_PRICE
from tests.support.network import Host, Network, network, why_no_network
from tests.support.servers_on_hosts import PostgresHost, StandInHost
from tests.support.service_database import ServiceDatabase, make_service
from tests.support.stand_in import StandIn

ROOT = Path(__file__).parents[1]
CODE, HOME = Path("/opt/aboutness"), Path("/var/lib/aboutness")
WORKERS = ("worker1", "worker2")
HEAD_UNITS = ("host/aboutness-code-server", "host/aboutness-daemon", "host/aboutness-webserver")
WORKER_UNITS = ("hosts/aboutness-worker",)
MAX_USD = 1000
PATIENCE_SECONDS = 900
ENDS = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED")

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


@dataclass
class Machine:
    """A host with a checkout, a DAGSTER_HOME and an environment of its own, where the units want them."""

    host: Host
    directory: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def install(self) -> None:
        """Copy the code; the installed packages are those of this checkout."""
        checkout = self.directory / "code" / "current"
        checkout.mkdir(parents=True)
        tracked = subprocess.run(
            ["git", "ls-files", "-z", "aboutness_assets", "deploy", "pyproject.toml", "dagster.yaml"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        for name in filter(None, tracked.decode().split("\0")):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
        (checkout / ".venv").symlink_to(Path(sys.executable).parents[1])
        home = self.directory / "home"
        home.mkdir()
        shutil.copy(checkout / "deploy" / "hosts" / "dagster.yaml", home)

    def command(self, *arguments: str) -> list[str]:
        """What runs a command here, with the code and DAGSTER_HOME of this host in their places."""
        mounts = (
            f"mount --bind {self.directory}/code {CODE} && mount --bind {self.directory}/home {HOME}"
            f' && cd {HOME} && exec "$@"'
        )
        return self.host.command("unshare", "--mount", "sh", "-c", mounts, "sh", *arguments)

    def run(self, *arguments: str) -> str:
        """Run a command to its end; its output."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *units: str) -> None:
        """Start what the units of deploy/ start."""
        for unit in units:
            with (self.directory / f"{Path(unit).name}.log").open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        self.command(*exec_start(unit, self.environment)),
                        env=self.environment | environment_of(unit),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def lose_power(self) -> None:
        """Kill every process at once."""
        self.host.kill()
        for process in self.processes:
            process.wait()
        self.processes.clear()


def exec_start(unit: str, environment: dict[str, str]) -> list[str]:
    """The command of a unit, with the variables that systemd would put in."""
    [line] = _lines(unit, "ExecStart=")
    words = shlex.split(line)
    return [
        environment[word[2:-1]] if word.startswith("${") and word.endswith("}") else word for word in words
    ]


def environment_of(unit: str) -> dict[str, str]:
    """The variables that a unit sets itself."""
    pairs = (line.partition("=") for line in _lines(unit, "Environment="))
    return {name: value for name, _, value in pairs}


def _lines(unit: str, key: str) -> list[str]:
    lines = (ROOT / "deploy" / f"{unit}.service").read_text().splitlines()
    return [line.removeprefix(key) for line in lines if line.startswith(key)]


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
def trial(songs: int, range_size: int, partitions_per_run: int, requests_per_minute: int) -> Iterator[Trial]:
    """Everything installed and started, the partitions created."""
    directory = Path(tempfile.mkdtemp(prefix="aboutness-hosts-", dir="/var/tmp"))
    directory.chmod(0o755)
    made = [path for path in (CODE, HOME) if not path.exists()]
    for path in made:
        path.mkdir(parents=True)
    try:
        names = ["operator", "service", "own", "provider", "head", *WORKERS]
        with network(names) as hosts, hosts["operator"].entered():
            service_server = PostgresHost(hosts["service"], directory / "service")
            own_server = PostgresHost(hosts["own"], directory / "own")
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
            stand_in.control(
                {
                    "prices": {"chat": CHAT_PRICES, "embedding": EMBEDDING_PRICE},
                    "latency_seconds": {"chat": 1.0, "embeddings": 0.2},
                    "limits": {"requests_per_minute": requests_per_minute, "starts_at": 0},
                }
            )
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
                "ABOUTNESS_MAX_USD": str(MAX_USD),
                "ABOUTNESS_RANGE_SIZE": str(range_size),
                "ABOUTNESS_PARTITIONS_PER_RUN": str(partitions_per_run),
                "ABOUTNESS_WORKERS": ",".join(f"{hosts[name].address}:4266" for name in WORKERS),
            }
            machines = {}
            for name in ("head", *WORKERS):
                own = {**environment, "ABOUTNESS_WORKER_ADDRESS": hosts[name].address}
                machines[name] = Machine(hosts[name], directory / name, own)
                machines[name].install()
            project = DagsterProject(directory / "head" / "home", service, environment)
            yield Trial(
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
            for server in (service_server, own_server):
                server.stop("immediate")
                server.reset()
        shutil.rmtree(directory)
    finally:
        for path in made:
            path.rmdir()


def begin(trial: Trial) -> str:
    """Start head and workers, create the partitions and launch the backfill; its id."""
    for name in WORKERS:
        trial.machines[name].start(*WORKER_UNITS)
    head = trial.machines["head"]
    head.run(
        str(CODE / "current/.venv/bin/dagster"),
        *("job", "execute", "-m", "aboutness_assets.definitions", "-j", "sync_song_id_ranges"),
    )
    start_head(trial)
    dev = DagsterDev(trial.project, "http://127.0.0.1:3000")

    def on_head(work: Callable[[], Any]) -> Any:
        with trial.hosts["head"].entered():
            return work()

    trial.tell("UI up after, s", round(trial.wait(lambda: on_head(dev.is_up), "the UI")))
    backfill = str(on_head(lambda: dev.launch_backfill(trial.project.ranges())))
    trial.wait(lambda: all(trial.sent(trial.runs_on(name)) for name in WORKERS), "both workers")
    trial.tell("both workers send; rows", trial.rows())
    return backfill


def start_head(trial: Trial) -> None:
    """As systemd does: the daemon and the webserver once the code server answers (aboutness-code-server)."""
    head = trial.machines["head"]
    head.start(HEAD_UNITS[0])
    answers = head.command(
        str(CODE / "current/.venv/bin/dagster"), "api", "grpc-health-check", "--port", "4266"
    )
    trial.wait(
        lambda: (
            subprocess.run(answers, env=head.environment, check=False, capture_output=True).returncode == 0
        ),
        "the head's code server",
    )
    head.start(*HEAD_UNITS[1:])


def measure(trial: Trial, seconds: float) -> None:
    """How much of the shared limit is used, and how many requests meet it, while both workers send."""

    def chat() -> Counter[int]:
        asked = trial.stand_in.requests()["requests"]
        return Counter(request["status"] for request in asked if request["route"] == "chat")

    before, begun = chat(), time.monotonic()
    time.sleep(seconds)
    sent, minutes = chat() - before, (time.monotonic() - begun) / 60
    trial.tell("share of the limit used", round(sent[200] / minutes / trial.requests_per_minute, 3))
    trial.tell("share of 429s", round(sent[429] / max(sum(sent.values()), 1), 4))
    trial.tell("load of this machine", os.getloadavg()[0])


def succeed(trial: Trial, name: str, what: str, strike: Callable[[], None]) -> None:
    """Strike a worker; the seconds until a run elsewhere holds one of its ranges and sends."""
    trial.wait(lambda: trial.sent(trial.runs_on(name)), f"a run on {name}")
    lost = trial.runs_on(name)
    ranges = trial.own_sql(
        "select distinct range_key from aboutness_ops.attempt where run_id in"
        f" ({', '.join(repr(run_id) for run_id in lost) or 'null'})"
    )
    strike()
    struck_at = trial.own_sql("select clock_timestamp()")[0][0]
    keys = ", ".join(f"'{key}'" for (key,) in ranges) or "null"
    others = ", ".join(f"'{run_id}'" for run_id in lost) or "null"
    took = trial.wait(
        lambda: trial.own_sql(
            f"select from aboutness_ops.attempt where range_key in ({keys}) and run_id not in ({others})"
            f" and sent_at > '{struck_at}' limit 1"
        ),
        f"a successor of {name}",
    )
    trial.tell(f"{what}: its ranges are another's and go on after, s", round(took))
    trial.tell("of it, s", trial.stages(lost, struck_at.timestamp()))


def faults(trial: Trial) -> None:
    """Everything that may fail, one after the other, while the backfill is under way."""
    first, second = WORKERS
    succeed(trial, first, f"{first} cut off from the network", lambda: trial.hosts.cut(first))
    trial.hosts.mend(first)
    succeed(trial, second, f"{second} killed", trial.machines[second].lose_power)
    trial.machines[second].start(*WORKER_UNITS)
    head = trial.machines["head"]
    head.lose_power()
    rows = trial.rows()
    trial.tell("head killed; rows", rows)
    start_head(trial)
    trial.wait(lambda: trial.rows() > rows, "rows after the head's restart")
    daemon = head.processes[1]
    daemon.kill()
    daemon.wait()
    head.start(HEAD_UNITS[1])
    trial.tell("daemon killed and restarted; rows", trial.rows())
    trial.service_server.restart("immediate")
    trial.tell("the service's Postgres restarted; rows", trial.rows())
    trial.own_server.restart("immediate")
    trial.tell("our own Postgres restarted; rows", trial.rows())


def hold(trial: Trial, backfill: str) -> None:
    """The backfill has ended by itself; hold everything against everything."""
    with trial.project.instance() as instance:
        status = getattr(instance.get_backfill(backfill), "status", None)
    trial.tell("backfill", status.value if status else None)
    trial.tell("rows", trial.rows())
    writers = dict(trial.service_sql("select host(address), count(*) from writer group by 1"))
    trial.tell("rows by worker", {name: writers.get(trial.hosts[name].address, 0) for name in WORKERS})
    # Of each range the runs, in order: none sends or writes again once another has begun.
    interleaved = trial.own_sql(
        "select range_key from (select range_key, run_id, min(sent_at) as first, max(sent_at) as last"
        " from aboutness_ops.attempt group by 1, 2) a join (select range_key as key, run_id as other,"
        " min(sent_at) as other_first from aboutness_ops.attempt group by 1, 2) b"
        " on key = range_key and other <> run_id and other_first > first and other_first <= last"
    )
    trial.tell("ranges on which two runs sent at once", len(interleaved))
    [(asked_twice,)] = trial.own_sql(
        "select count(*) from (select song from aboutness_ops.chat_request, unnest(song_ids) song"
        " where outcome = 'used' group by 1 having count(*) > 1) twice"
    )
    trial.tell("songs of which two answers were used", asked_twice)
    [(states,)] = trial.own_sql(
        "select json_object_agg(state, n) from (select state, count(*) as n from aboutness_ops.spending"
        " group by 1) s"
    )
    trial.tell("attempts", states)
    [(spent, uncertain, reserved)] = trial.own_sql(
        "select billed_usd::float8, uncertain_usd::float8, reserved_usd::float8 from aboutness_ops.budget"
    )
    [(spent_sum, uncertain_sum)] = trial.own_sql(
        "select coalesce(sum(usd), 0)::float8,"
        " coalesce(sum(max_usd) filter (where state = 'uncertain'), 0)::float8 from aboutness_ops.spending"
    )
    billed = float(trial.stand_in.billing()["totals"]["usd"])
    trial.tell("billed, spent, uncertain, reserved, $", [billed, spent, uncertain, reserved])
    assert status is not None and status.value == "COMPLETED_SUCCESS"
    assert trial.found["rows"] == trial.songs
    assert min(trial.found["rows by worker"].values()) > trial.songs / 4
    assert not interleaved and not asked_twice
    assert "in_flight" not in states and reserved < 1e-9
    assert abs(spent - spent_sum) < 1e-9 and abs(uncertain - uncertain_sum) < 1e-9
    assert spent <= billed + 1e-9 and billed <= spent + uncertain + 1e-9 and spent + uncertain <= MAX_USD


def main() -> None:
    """Run the trial; exits with 1 and the reason where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=20_000)
    parser.add_argument("--range-size", type=int, default=500)
    parser.add_argument("--ranges-per-run", type=int, default=4)
    parser.add_argument("--requests-per-minute", type=int, default=600)
    parser.add_argument("--measured-seconds", type=float, default=90)
    parser.add_argument("--no-faults", action="store_true")
    arguments = parser.parse_args()
    if reason := why_no_network():
        sys.exit(f"No hosts can be made: {reason}.")
    with trial(
        arguments.songs, arguments.range_size, arguments.ranges_per_run, arguments.requests_per_minute
    ) as begun:
        backfill = begin(begun)
        if arguments.measured_seconds:
            measure(begun, arguments.measured_seconds)
        if not arguments.no_faults:
            faults(begun)

        def has_ended() -> bool:
            with begun.project.instance() as instance:
                found = instance.get_backfill(backfill)
            return found is not None and found.status.value in (
                "COMPLETED_SUCCESS",
                "COMPLETED_FAILED",
                "FAILED",
            )

        begun.wait(has_ended, "the end of the backfill")
        hold(begun, backfill)
        print(json.dumps(begun.found))


if __name__ == "__main__":
    main()
